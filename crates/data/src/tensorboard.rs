//! Metrics as TensorBoard event files.
//!
//! An event file is a row of records, each framed by its length and masked CRC32C checksums; a
//! record is a protocol-buffer `Event` (tensorflow/core/util/event.proto).

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use prost::Message;

use crate::DataError;
use crate::log::Record;

/// An open event file.
#[derive(Debug)]
pub(crate) struct EventFile {
    path: PathBuf,
    file: File,
}

impl EventFile {
    /// Starts a file in `folder`; TensorBoard reads all files of a folder as one run.
    pub(crate) fn create(folder: &Path) -> Result<Self, DataError> {
        fs::create_dir_all(folder).map_err(DataError::io(folder))?;
        let now = now();
        let name = format!("events.out.tfevents.{}.{}.rein", now as u64, std::process::id());
        let path = folder.join(name);
        let file = File::create(&path).map_err(DataError::io(&path))?;
        let mut events = Self { path, file };
        events.write(&Event { file_version: Some("brain.Event:2".into()), ..Event::at(now, 0) })?;
        Ok(events)
    }

    /// Writes the values of a step, each under `<stage>/<name>`.
    pub(crate) fn scalars(&mut self, record: &Record) -> Result<(), DataError> {
        let value = record
            .values
            .iter()
            .filter_map(|(name, value)| {
                let tag = format!("{}/{name}", record.stage);
                Some(Value { tag, simple_value: Some(value.as_f64()? as f32) })
            })
            .collect();
        let event =
            Event { summary: Some(Summary { value }), ..Event::at(now(), record.step as i64) };
        self.write(&event)
    }

    fn write(&mut self, event: &Event) -> Result<(), DataError> {
        self.file.write_all(&frame(&event.encode_to_vec())).map_err(DataError::io(&self.path))
    }
}

/// Length, checksum of the length, data, checksum of the data.
fn frame(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    [&length[..], &masked_crc(&length), data, &masked_crc(data)].concat()
}

fn masked_crc(data: &[u8]) -> [u8; 4] {
    crc32c::crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |elapsed| elapsed.as_secs_f64())
}

#[derive(Clone, PartialEq, Message)]
struct Event {
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(string, optional, tag = "3")]
    file_version: Option<String>,
    #[prost(message, optional, tag = "5")]
    summary: Option<Summary>,
}

impl Event {
    fn at(wall_time: f64, step: i64) -> Self {
        Self { wall_time, step, file_version: None, summary: None }
    }
}

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<Value>,
}

#[derive(Clone, PartialEq, Message)]
struct Value {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(float, optional, tag = "2")]
    simple_value: Option<f32>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_record_is_byte_for_byte_what_tensorflow_writes() {
        // wall time 0 is left out by proto3; field 3 is the version string of 13 bytes.
        let event = Event { file_version: Some("brain.Event:2".into()), ..Event::at(0.0, 0) };
        let bytes = frame(&event.encode_to_vec());
        assert_eq!(bytes[..8], 15_u64.to_le_bytes());
        assert_eq!(bytes[12..27], *b"\x1a\x0dbrain.Event:2");
        // The masked checksum of a length of 24, as every event file begins with it.
        assert_eq!(masked_crc(&24_u64.to_le_bytes()), [0xa3, 0x7f, 0x4b, 0x22]);
    }
}
