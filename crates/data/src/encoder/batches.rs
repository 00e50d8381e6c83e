//! Examples encoded side by side, in their order.

use std::collections::VecDeque;
use std::thread;

use serde_json::Value;

use super::Encoder;
use crate::DataError;
use crate::example::{Body, Content, Example};
use crate::schema::Located;

/// Examples that are held at a time.
const BATCH_ROWS: usize = 512;
/// And their bytes, but for the last one's.
const BATCH_BYTES: usize = 1 << 20;
const MAX_THREADS: usize = 16;

/// What an encoder makes of an example.
type Work<T> = fn(&Encoder, &Example) -> Result<T, String>;

/// An example and what became of it.
type Done<T> = (Located, Result<T, String>);

/// Each example and what became of it. Some examples at a time are encoded by as many threads as the
/// machine has cores; what comes out doesn't depend on that.
pub struct Encoding<'a, I, T> {
    encoder: &'a Encoder,
    work: Work<T>,
    examples: I,
    ready: VecDeque<Result<Done<T>, DataError>>,
}

impl<'a, I, T> Encoding<'a, I, T> {
    /// Does `work` on each example.
    pub fn new(encoder: &'a Encoder, examples: I, work: Work<T>) -> Self {
        Self { encoder, work, examples, ready: VecDeque::new() }
    }
}

impl<I: Iterator<Item = Result<Located, DataError>>, T: Send> Iterator for Encoding<'_, I, T> {
    type Item = Result<Done<T>, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ready.is_empty() {
            self.refill();
        }
        self.ready.pop_front()
    }
}

impl<I: Iterator<Item = Result<Located, DataError>>, T: Send> Encoding<'_, I, T> {
    /// Encodes some more examples, up to the first one that can't be read.
    fn refill(&mut self) {
        let mut batch = Vec::new();
        let mut n_bytes = 0;
        let mut fault = None;
        while batch.len() < BATCH_ROWS && n_bytes < BATCH_BYTES {
            match self.examples.next() {
                Some(Ok(located)) => {
                    n_bytes += size(&located.example);
                    batch.push(located);
                }
                Some(Err(error)) => {
                    fault = Some(error);
                    break;
                }
                None => break,
            }
        }
        let encoded = self.encode(&batch);
        self.ready.extend(batch.into_iter().zip(encoded).map(Ok));
        self.ready.extend(fault.map(Err));
    }

    fn encode(&self, batch: &[Located]) -> Vec<Result<T, String>> {
        let (encoder, work) = (self.encoder, self.work);
        let one_by_one =
            move |part: &[Located]| part.iter().map(|it| work(encoder, &it.example)).collect();
        let n_cores = thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS);
        let n_each = batch.len().div_ceil(n_cores);
        if n_each <= 1 {
            return one_by_one(batch);
        }
        thread::scope(|scope| {
            let parts = batch.chunks(n_each);
            let workers: Vec<_> =
                parts.map(|part| scope.spawn(move || -> Vec<_> { one_by_one(part) })).collect();
            let done = workers.into_iter();
            done.flat_map(|worker| worker.join().expect("encoding doesn't panic")).collect()
        })
    }
}

/// About how many bytes the texts of an example have.
fn size(example: &Example) -> usize {
    let content = |content: &Content| match content {
        Content::Text(text) => text.len(),
        Content::Messages(messages) => messages.iter().map(size_of_json).sum(),
    };
    let body = match &example.body {
        Body::LanguageModeling(whole) | Body::PromptOnly(whole) => content(whole),
        Body::PromptCompletion { prompt, completion: answer }
        | Body::Scored { prompt, completion: answer, .. }
        | Body::UnpairedPreference { prompt, completion: answer, .. } => {
            content(prompt) + content(answer)
        }
        Body::Preference { prompt, chosen, rejected, .. } => {
            content(prompt) + content(chosen) + content(rejected)
        }
        Body::Ranking { prompt, completions, .. } => {
            content(prompt) + completions.iter().map(content).sum::<usize>()
        }
    };
    let besides = example.template_arguments.values().chain(example.extra.values());
    body + besides.chain(&example.tools).map(size_of_json).sum::<usize>()
}

fn size_of_json(value: &Value) -> usize {
    let below = match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(size_of_json).sum(),
        Value::Object(members) => members.values().map(size_of_json).sum(),
        _ => 0,
    };
    below + size_of::<Value>()
}

impl<I, T> std::fmt::Debug for Encoding<'_, I, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encoding").field("n_ready", &self.ready.len()).finish_non_exhaustive()
    }
}
