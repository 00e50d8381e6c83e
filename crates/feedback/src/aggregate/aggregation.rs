use rein_data::seed::Seed;
use serde::{Deserialize, Serialize};

use super::majority::shares;
use super::{DawidSkene, Glad, Mace, OneCoin, Votes};

/// How many people's labels become one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Aggregation {
    /// The shares of votes. Everybody counts alike, and what people disagree on stays open.
    #[default]
    Share,
    /// [`DawidSkene`], as it is by default.
    DawidSkene,
    /// [`OneCoin`], as it is by default.
    OneCoin,
    /// [`Glad`], as it is by default.
    Glad,
    /// [`Mace`], from the same starts each time.
    Mace,
}

impl Aggregation {
    /// All of them, the simplest first.
    pub const ALL: [Self; 5] =
        [Self::Share, Self::OneCoin, Self::DawidSkene, Self::Glad, Self::Mace];

    /// As it stands in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Share => "share",
            Self::DawidSkene => "dawid_skene",
            Self::OneCoin => "one_coin",
            Self::Glad => "glad",
            Self::Mace => "mace",
        }
    }

    /// The probability of each label, by task.
    pub fn posterior(self, votes: &Votes) -> Vec<Vec<f64>> {
        match self {
            Self::Share => shares(votes),
            Self::DawidSkene => DawidSkene::default().fit(votes).consensus.posterior,
            Self::OneCoin => OneCoin::default().fit(votes).consensus.posterior,
            Self::Glad => Glad::default().fit(votes).consensus.posterior,
            Self::Mace => Mace::new(Seed::new(0)).fit(votes).consensus.posterior,
        }
    }
}
