//! The header of a safetensors file, checked before anything is made of it.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::io::Read;
use std::ops::Range;
use std::path::Path;

use safetensors::Dtype;
use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, Visitor};

use super::json::{reason, shown, twice};
use crate::ModelError;

/// Larger headers are refused; that of a model with 10,000 tensors has 1.5 MiB.
const MAX_BYTES: u64 = 16 << 20;
/// More tensors in a file or checkpoint are refused.
pub(super) const MAX_TENSORS: usize = 20_000;
const MAX_METADATA: usize = 1000;
const MAX_NAME_BYTES: usize = 512;
const MAX_AXES: usize = 8;

/// What a safetensors file holds: `8 bytes of length | JSON | values`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The tensors, by name.
    pub tensors: BTreeMap<String, TensorInfo>,
}

/// A tensor of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// The type of its values.
    pub dtype: Dtype,
    /// Its axes.
    pub shape: Vec<usize>,
    /// Where its values lie, in bytes from the beginning of the file.
    pub bytes: Range<u64>,
}

impl TensorInfo {
    /// The number of its values.
    pub fn n_values(&self) -> usize {
        self.shape.iter().product()
    }
}

impl Header {
    /// Reads the header of a file of `n_bytes` bytes; `path` is for errors only. Memory is taken for
    /// at most 16 MiB of header and 20,000 tensors.
    ///
    /// # Errors
    /// Whatever isn't a whole file: its tensors must have known types, sizes that match their shapes,
    /// and lie one behind the other up to the end of the file, without holes and overlaps.
    pub fn read(path: &Path, mut file: impl Read, n_bytes: u64) -> Result<Self, ModelError> {
        let refuse = |reason: String| ModelError::checkpoint(path, reason);
        let broken = |error: std::io::Error| refuse(format!("ends within its header: {error}"));
        let mut length = [0; 8];
        file.read_exact(&mut length).map_err(broken)?;
        let length = u64::from_le_bytes(length);
        if length > MAX_BYTES {
            return Err(refuse(format!(
                "its header has {length} bytes; at most {MAX_BYTES} are read"
            )));
        }
        let begin = 8 + length;
        if begin > n_bytes {
            let reason = format!("its header has {length} bytes, but the file has {n_bytes}");
            return Err(refuse(reason));
        }
        let mut json = vec![0; length as usize];
        file.read_exact(&mut json).map_err(broken)?;
        Self::parse(&json, begin, n_bytes).map_err(refuse)
    }

    fn parse(json: &[u8], begin: u64, end: u64) -> Result<Self, String> {
        let text =
            str::from_utf8(json).map_err(|error| format!("its header is not UTF-8: {error}"))?;
        let entries = serde_json::from_str(text);
        let Entries(entries) = entries.map_err(|it| format!("in its header: {}", reason(it)))?;
        let mut tensors = BTreeMap::new();
        for (name, entry) in entries {
            let info =
                entry.place(begin).map_err(|reason| format!("`{}` {reason}", shown(&name)))?;
            tensors.insert(name, info);
        }
        one_behind_the_other(&tensors, begin..end)?;
        Ok(Self { tensors })
    }
}

/// Each byte after the header belongs to one tensor.
fn one_behind_the_other(
    tensors: &BTreeMap<String, TensorInfo>,
    file: Range<u64>,
) -> Result<(), String> {
    let mut placed: Vec<(&String, &Range<u64>)> =
        tensors.iter().map(|(name, info)| (name, &info.bytes)).collect();
    placed.sort_by_key(|(_, bytes)| bytes.start);
    let mut free = file.start;
    for (name, bytes) in placed {
        let name = shown(name);
        if bytes.end > file.end {
            let (end, has) = (bytes.end, file.end);
            return Err(format!(
                "`{name}` ends at byte {end}, but the file has {has}; it is cut off"
            ));
        } else if bytes.start < free {
            return Err(format!("`{name}` overlaps the tensor before it"));
        } else if bytes.start > free {
            return Err(format!(
                "{} bytes before `{name}` belong to no tensor",
                bytes.start - free
            ));
        }
        free = bytes.end;
    }
    match file.end - free {
        0 => Ok(()),
        rest => Err(format!("{rest} bytes after its last tensor belong to none")),
    }
}

/// A tensor as the header tells of it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawInfo {
    dtype: Dtype,
    shape: Shape,
    /// Counted from the end of the header.
    data_offsets: (u64, u64),
}

impl RawInfo {
    fn place(self, begin: u64) -> Result<TensorInfo, String> {
        let Self { dtype, shape: Shape(shape), data_offsets: (from, to) } = self;
        let n_values = shape.iter().try_fold(1_u64, |product, axis| product.checked_mul(*axis));
        let n_bits = n_values.and_then(|it| it.checked_mul(dtype.bitsize() as u64));
        let n_bits =
            n_bits.ok_or_else(|| format!("has the shape {shape:?}, which no memory holds"))?;
        if n_bits == 0 {
            return Err(format!("has the shape {shape:?} and hence no values"));
        }
        if to.checked_sub(from) != Some(n_bits.div_ceil(8)) {
            let n_bytes = n_bits.div_ceil(8);
            return Err(format!(
                "lies at {from}..{to}, but {shape:?} values of type {dtype:?} take {n_bytes} bytes"
            ));
        }
        let end = begin.checked_add(to).ok_or_else(|| format!("ends at {to}, beyond any file"))?;
        let shape = shape.into_iter().map(|axis| axis as usize).collect();
        Ok(TensorInfo { dtype, shape, bytes: begin + from..end })
    }
}

/// Sizes of a few axes.
struct Shape(Vec<u64>);

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Axes;

        impl<'de> Visitor<'de> for Axes {
            type Value = Shape;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, "a list of at most {MAX_AXES} sizes")
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(
                self,
                mut axes: A,
            ) -> Result<Shape, A::Error> {
                let mut shape = Vec::new();
                while let Some(axis) = axes.next_element()? {
                    if shape.len() == MAX_AXES {
                        return Err(A::Error::invalid_length(MAX_AXES + 1, &self));
                    }
                    shape.push(axis);
                }
                Ok(Shape(shape))
            }
        }

        deserializer.deserialize_seq(Axes)
    }
}

/// The header's object: bounded in number, each name once.
struct Entries(BTreeMap<String, RawInfo>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EntriesVisitor)
    }
}

struct EntriesVisitor;

impl<'de> Visitor<'de> for EntriesVisitor {
    type Value = Entries;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object with an entry for each tensor")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
        let mut entries = BTreeMap::new();
        let mut has_metadata = false;
        while let Some(name) = map.next_key::<String>()? {
            if name == "__metadata__" {
                if std::mem::replace(&mut has_metadata, true) {
                    return Err(twice(&name));
                }
                map.next_value::<Metadata>()?;
                continue;
            }
            if name.len() > MAX_NAME_BYTES {
                let n_bytes = name.len();
                return Err(A::Error::custom(format!(
                    "`{}` is a name of {n_bytes} bytes",
                    shown(&name)
                )));
            }
            if entries.len() == MAX_TENSORS {
                return Err(A::Error::custom(format!("more than {MAX_TENSORS} tensors")));
            }
            let info = map.next_value().map_err(|error| in_entry(&name, &error))?;
            match entries.entry(name) {
                Entry::Occupied(entry) => return Err(twice(entry.key())),
                Entry::Vacant(entry) => entry.insert(info),
            };
        }
        Ok(Entries(entries))
    }
}

fn in_entry<E: Error>(name: &str, error: &E) -> E {
    E::custom(format!("`{}`: {}", shown(name), reason(error)))
}

/// Texts by name, which nothing depends on.
struct Metadata;

impl<'de> Deserialize<'de> for Metadata {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Texts;

        impl<'de> Visitor<'de> for Texts {
            type Value = Metadata;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, "at most {MAX_METADATA} notes in `__metadata__`")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut notes: A) -> Result<Metadata, A::Error> {
                for n_notes in 0.. {
                    if notes.next_entry::<IgnoredAny, Note>()?.is_none() {
                        break;
                    }
                    if n_notes == MAX_METADATA {
                        return Err(A::Error::invalid_length(n_notes, &self));
                    }
                }
                Ok(Metadata)
            }
        }

        deserializer.deserialize_map(Texts)
    }
}

/// A text that is passed over.
#[derive(Deserialize)]
struct Note(#[expect(dead_code, reason = "only its type is checked")] String);

#[cfg(test)]
mod tests {
    use super::*;

    fn file(header: &str, n_values: usize) -> Vec<u8> {
        let length = (header.len() as u64).to_le_bytes();
        [&length[..], header.as_bytes(), &vec![0; n_values]].concat()
    }

    fn read(bytes: &[u8]) -> Result<Header, String> {
        let header = Header::read(Path::new("x"), bytes, bytes.len() as u64);
        header.map_err(|error| error.to_string().replace("x: ", ""))
    }

    #[test]
    fn a_whole_file_is_read_in_any_order_of_its_entries() {
        let header = r#"{"__metadata__":{"format":"pt"},
            "b":{"dtype":"F32","shape":[2,1],"data_offsets":[2,10]},
            "a":{"dtype":"BF16","shape":[],"data_offsets":[0,2]}}   "#;
        let begin = 8 + header.len() as u64;
        let Header { tensors } = read(&file(header, 10)).expect("reads");
        assert_eq!(tensors["a"].bytes, begin..begin + 2);
        assert_eq!(tensors["b"].shape, [2, 1]);
        assert_eq!(tensors["b"].n_values(), 2);
    }

    #[test]
    fn what_is_no_whole_file_is_refused() {
        let tensor = |shape: &str, begin: u64, end: u64| {
            format!(r#"{{"dtype":"F32","shape":{shape},"data_offsets":[{begin},{end}]}}"#)
        };
        let one = |shape: &str, begin, end| format!(r#"{{"a":{}}}"#, tensor(shape, begin, end));
        let two = |begin, end| {
            format!(r#"{{"a":{},"b":{}}}"#, tensor("[1]", 0, 4), tensor("[1]", begin, end))
        };
        let cases = [
            (one("[1]", 0, 4), 3, "`a` ends at byte 66, but the file has 65; it is cut off"),
            (one("[1]", 0, 4), 5, "1 bytes after its last tensor belong to none"),
            (one("[1]", 4, 8), 8, "4 bytes before `a` belong to no tensor"),
            (two(2, 6), 6, "`b` overlaps the tensor before it"),
            (two(0, 4), 4, "`b` overlaps the tensor before it"),
            (one("[2]", 0, 4), 4, "`a` lies at 0..4, but [2] values of type F32 take 8 bytes"),
            (one("[1]", 4, 0), 4, "`a` lies at 4..0, but [1] values of type F32 take 4 bytes"),
            (one("[0]", 0, 0), 0, "`a` has the shape [0] and hence no values"),
            (
                one("[4194305,4194305,211106198978564]", 0, 4),
                4,
                "`a` has the shape [4194305, 4194305, 211106198978564], which no memory holds",
            ),
            ("[]".into(), 0, "in its header: invalid type: sequence"),
            (
                one("[1]", 0, 4).replace("F32", "F31"),
                4,
                "in its header: `a`: unknown variant `F31`",
            ),
            (one("[1,1,1,1,1,1,1,1,1]", 0, 4), 4, "in its header: `a`: invalid length 9"),
            (format!("{}}}{}", "{\"a\":", 0), 4, "in its header: "),
        ];
        for (header, n_values, reason) in cases {
            let error = read(&file(&header, n_values)).expect_err(&header);
            assert!(error.starts_with(reason), "{header}: {error}");
        }
        let twice = format!(r#"{{"a":{0},"a":{0}}}"#, tensor("[1]", 0, 4));
        assert!(read(&file(&twice, 4)).is_err_and(|it| it.contains("`a` stands there twice")));
    }

    #[test]
    fn lengths_are_not_believed() {
        let lengths = [
            (u64::MAX, "its header has 18446744073709551615 bytes; at most 16777216 are read"),
            (1 << 63, "its header has 9223372036854775808 bytes; at most 16777216 are read"),
            (1000, "its header has 1000 bytes, but the file has 8"),
        ];
        for (length, reason) in lengths {
            assert_eq!(read(&u64::to_le_bytes(length)), Err(reason.into()));
        }
        assert!(read(&[0; 7]).is_err_and(|it| it.starts_with("ends within its header")));
        let many = (0..=MAX_TENSORS).map(|number| {
            format!(
                r#""{number}":{{"dtype":"U8","shape":[1],"data_offsets":[{number},{}]}}"#,
                number + 1
            )
        });
        let many = format!("{{{}}}", many.collect::<Vec<_>>().join(","));
        assert!(
            read(&file(&many, MAX_TENSORS + 1)).is_err_and(|it| it.contains("more than 20000"))
        );
    }
}
