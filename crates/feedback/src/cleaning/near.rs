//! Earlier rows that say almost the same, without comparing each with each.

use std::collections::HashMap;

use rein_data::example::Example;

use super::minhash::{MinHash, N_HASHES, Signature, estimate};
use super::reading::Reading;
use super::shingles::{Shingles, jaccard, mix};

/// Rows of which one of so many bands agrees are candidates (Indyk and Motwani, 1998). With 32 bands of 4 values, rows
/// of similarity `J` are with probability `1 − (1 − J⁴)³²`: all but 5 of 10⁸ at 0.8.
const N_BANDS: usize = 32;
const N_ROWS: usize = N_HASHES / N_BANDS;
/// Of the rows that agree in a band, so many are candidates, the latest first: where all rows begin alike, time stays in
/// proportion to their number.
const MAX_IN_BAND: usize = 64;
/// So many candidates are compared by their texts, those first whose signatures agree most.
const MAX_COMPARED: usize = 8;
/// Rows whose estimate is lower by this much aren't: four standard deviations at 0.8.
const MARGIN: f64 = 0.15;
/// The responses alone must be so similar. Else two pairs of short responses to one long prompt would be the same.
const LEAST_OF_RESPONSES: f64 = 0.5;

/// The rows seen so far.
pub(super) struct Near<'a> {
    rows: &'a [Example],
    similarity: f64,
    minhash: MinHash,
    seen: Vec<Seen>,
    /// By the values of each band, the latest of `seen`.
    latest: Vec<HashMap<u32, u32>>,
}

struct Seen {
    row: usize,
    circumstances: u64,
    signature: Signature,
    /// For each band, who was seen before with the same values.
    before: [u32; N_BANDS],
}

/// Nobody was seen before.
const NONE: u32 = u32::MAX;

impl<'a> Near<'a> {
    pub(super) fn new(rows: &'a [Example], similarity: f64) -> Self {
        let latest = vec![HashMap::new(); N_BANDS];
        Self { rows, similarity, minhash: MinHash::new(), seen: Vec::new(), latest }
    }

    /// The earlier row that is most similar, and its similarity, if it is similar enough; else the row is remembered.
    pub(super) fn look(&mut self, row: usize, reading: &Reading<'_>) -> Option<(usize, f64)> {
        let shingles = Shingles::of(reading);
        if shingles.all.is_empty() {
            return None;
        }
        let signature = self.minhash.signature(&shingles.all);
        let circumstances = circumstances(reading, &shingles);
        let bands = bands(&signature, circumstances);
        let found = self
            .candidates(&bands, &signature, circumstances)
            .into_iter()
            .filter_map(|seen| self.compare(self.seen[seen].row, &shingles))
            .max_by(|a, b| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0)));
        if found.is_none() {
            self.remember(Seen { row, circumstances, signature, before: [NONE; N_BANDS] }, &bands);
        }
        found
    }

    /// Those whose signatures agree most.
    fn candidates(
        &self,
        bands: &[u32; N_BANDS],
        signature: &Signature,
        circumstances: u64,
    ) -> Vec<usize> {
        let mut candidates: Vec<u32> = Vec::new();
        for (band, values) in bands.iter().enumerate() {
            let latest = self.latest[band].get(values).copied();
            let before = |it: &u32| {
                Some(self.seen[*it as usize].before[band]).filter(|before| *before != NONE)
            };
            candidates.extend(std::iter::successors(latest, before).take(MAX_IN_BAND));
        }
        candidates.sort_unstable();
        candidates.dedup();
        let agreement = |it: u32| {
            let seen = &self.seen[it as usize];
            let agreement = estimate(&seen.signature, signature);
            let is_near = agreement >= self.similarity - MARGIN;
            (is_near && seen.circumstances == circumstances).then_some((agreement, it))
        };
        let mut near: Vec<(f64, u32)> = candidates.into_iter().filter_map(agreement).collect();
        near.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        near.truncate(MAX_COMPARED);
        near.into_iter().map(|(_, it)| it as usize).collect()
    }

    fn compare(&self, row: usize, shingles: &Shingles) -> Option<(usize, f64)> {
        let other = Shingles::of(&Reading::of(&self.rows[row]));
        let similarity = jaccard(&other.all, &shingles.all);
        let of_responses = jaccard(&other.responses, &shingles.responses);
        let is_near = similarity >= self.similarity && of_responses >= LEAST_OF_RESPONSES;
        (is_near && other.short == shingles.short).then_some((row, similarity))
    }

    fn remember(&mut self, mut seen: Seen, bands: &[u32; N_BANDS]) {
        let number = u32::try_from(self.seen.len()).expect("rows fit into memory");
        for (band, values) in bands.iter().enumerate() {
            if let Some(before) = self.latest[band].insert(*values, number) {
                seen.before[band] = before;
            }
        }
        self.seen.push(seen);
    }
}

/// What must be the same in similar rows: who judged under which circumstances, and texts too short to be similar.
fn circumstances(reading: &Reading<'_>, shingles: &Shingles) -> u64 {
    let bytes = reading.circumstances().into_bytes().into_iter().map(u64::from);
    let mut worths: Vec<i64> = reading.responses.iter().map(|it| it.worth).collect();
    worths.sort_unstable();
    let numbers = worths.into_iter().map(|it| it as u64).chain(shingles.short.iter().copied());
    bytes.chain(numbers).fold(0, |hash, number| mix(hash ^ number))
}

/// A hash of the values of each band.
fn bands(signature: &Signature, circumstances: u64) -> [u32; N_BANDS] {
    std::array::from_fn(|band| {
        let values = &signature[band * N_ROWS..(band + 1) * N_ROWS];
        values.iter().fold(circumstances, |hash, value| mix(hash ^ u64::from(*value))) as u32
    })
}
