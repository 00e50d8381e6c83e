//! How often each response was shown and clicked at each place.

use std::collections::BTreeMap;

use super::events::Impression;

/// A response to a prompt.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shown {
    /// What it answers.
    pub prompt_id: String,
    /// Its id.
    pub response_id: String,
}

/// What became of a response at one place.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cell {
    /// How often it was shown there.
    pub views: f64,
    /// How often it was clicked there, once a view at most.
    pub clicks: f64,
}

/// Views and clicks by response and place. Numbers needn't be whole: expectations will do.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tally {
    cells: BTreeMap<Shown, BTreeMap<u32, Cell>>,
}

impl Tally {
    /// Counts these impressions.
    pub fn of<'a>(impressions: impl IntoIterator<Item = &'a Impression>) -> Self {
        let mut tally = Self::default();
        for impression in impressions {
            for item in &impression.items {
                let shown = Shown {
                    prompt_id: impression.prompt_id.clone(),
                    response_id: item.response_id.clone(),
                };
                let clicks = if impression.is_clicked(&item.response_id) { 1.0 } else { 0.0 };
                tally.add(shown, item.pos, Cell { views: 1.0, clicks });
            }
        }
        tally
    }

    /// Adds what became of a response at a place, counted from 1.
    pub fn add(&mut self, shown: Shown, position: u32, more: Cell) {
        let cell = self.cells.entry(shown).or_default().entry(position).or_default();
        cell.views += more.views;
        cell.clicks += more.clicks;
    }

    /// Each response with its places.
    pub fn iter(&self) -> impl Iterator<Item = (&Shown, &BTreeMap<u32, Cell>)> {
        self.cells.iter()
    }

    /// The places at which anything was shown, from the top.
    pub fn positions(&self) -> Vec<u32> {
        let mut positions: Vec<u32> =
            self.cells.values().flat_map(|places| places.keys().copied()).collect();
        positions.sort_unstable();
        positions.dedup();
        positions
    }
}
