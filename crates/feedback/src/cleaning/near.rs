//! Earlier rows that say almost the same, without comparing each with each.

use std::collections::HashMap;

use rein_data::example::Example;

use super::minhash::{MinHash, N_HASHES, Signature, estimate};
use super::reading::Reading;
use super::shingles::{Shingles, jaccard, mix};

/// Signatures are compared by bands (Indyk and Motwani, 1998). Rows of similarity `J` agree in a band of 4 values with
/// probability `J⁴`.
const N_BANDS: usize = 32;
const N_ROWS: usize = N_HASHES / N_BANDS;
/// Rows that agree in so many bands are candidates: all but 1 of 80 000 at 0.8, where 13 are to be expected, and all but
/// 1 of 100 at 0.7; but few of those that only begin alike.
const MIN_BANDS: usize = 3;
/// Of the rows that agree in a band, so many are candidates, the latest first: where all rows begin alike, time stays in
/// proportion to their number.
const MAX_IN_BAND: usize = 64;
/// So many candidates are compared by their texts, those first whose signatures agree most.
const MAX_COMPARED: usize = 8;
/// Rows whose estimate is lower by this much aren't: four standard deviations at 0.8.
const MARGIN: f64 = 0.15;
/// The responses alone must be so similar. Else two pairs of short responses to one long prompt would be the same.
const LEAST_OF_RESPONSES: f64 = 0.5;
/// Values of the signature that is kept of the responses. Of those similar enough, 1 of 17 000 agrees in so few.
const N_OF_RESPONSES: usize = 32;
const TOO_FEW_OF_RESPONSES: usize = 5;

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
    of_responses: OfResponses,
    /// For each band, who was seen before with the same values.
    before: [u32; N_BANDS],
}

type OfResponses = [u32; N_OF_RESPONSES];

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
        let of_responses = self.minhash.signature(&shingles.responses);
        let seen = Seen {
            row,
            circumstances: circumstances(reading, &shingles),
            signature,
            of_responses: std::array::from_fn(|value| of_responses[value]),
            before: [NONE; N_BANDS],
        };
        let bands = bands(&seen);
        let candidates = self.candidates(&seen, &bands);
        let found = candidates
            .into_iter()
            .filter_map(|number| self.compare(self.seen[number].row, &shingles))
            .max_by(|a, b| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0)));
        if found.is_none() {
            self.remember(seen, &bands);
        }
        found
    }

    /// Those whose signatures agree most.
    fn candidates(&self, new: &Seen, bands: &[u32; N_BANDS]) -> Vec<usize> {
        let mut in_bands: Vec<u32> = Vec::new();
        for (band, values) in bands.iter().enumerate() {
            let latest = self.latest[band].get(values).copied();
            let before = |it: &u32| {
                Some(self.seen[*it as usize].before[band]).filter(|before| *before != NONE)
            };
            in_bands.extend(std::iter::successors(latest, before).take(MAX_IN_BAND));
        }
        in_bands.sort_unstable();
        let often = in_bands.chunk_by(|a, b| a == b).filter(|it| it.len() >= MIN_BANDS);
        let mut near: Vec<(f64, usize)> = often
            .map(|it| it[0] as usize)
            .filter_map(|number| Some((self.agreement(new, &self.seen[number])?, number)))
            .collect();
        near.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        near.truncate(MAX_COMPARED);
        near.into_iter().map(|(_, number)| number).collect()
    }

    /// The estimate of their similarity if they may be similar enough.
    fn agreement(&self, new: &Seen, old: &Seen) -> Option<f64> {
        let n_equal =
            new.of_responses.iter().zip(&old.of_responses).filter(|(a, b)| a == b).count();
        if n_equal <= TOO_FEW_OF_RESPONSES || new.circumstances != old.circumstances {
            return None;
        }
        let agreement = estimate(&new.signature, &old.signature);
        (agreement >= self.similarity - MARGIN).then_some(agreement)
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
fn bands(seen: &Seen) -> [u32; N_BANDS] {
    std::array::from_fn(|band| {
        let values = &seen.signature[band * N_ROWS..(band + 1) * N_ROWS];
        values.iter().fold(seen.circumstances, |hash, value| mix(hash ^ u64::from(*value))) as u32
    })
}
