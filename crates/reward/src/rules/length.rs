use rein_data::example::Completion;
use serde::{Deserialize, Serialize};

use super::{Fault, Refusal, Rule};
use crate::Verdict;

/// How long completions shall be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LengthConfig {
    /// What is counted.
    pub unit: LengthUnit,
    /// The shortest length that costs nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min: Option<usize>,
    /// The longest length that costs nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<usize>,
    /// What each unit outside of that costs.
    pub slope: f64,
    /// The lowest score.
    pub floor: f64,
}

/// What a length counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LengthUnit {
    /// What white space separates.
    #[default]
    Words,
    /// Letters, marks and spaces: Unicode scalar values.
    Characters,
    /// The policy's tokens, an end of sequence included.
    Tokens,
}

/// Takes something off for each unit outside of a range: `max(floor, −slope · distance)`, and 0 within.
#[derive(Clone, Debug)]
pub struct Length(LengthConfig);

impl Default for LengthConfig {
    fn default() -> Self {
        Self { unit: LengthUnit::Words, min: None, max: None, slope: 0.1, floor: -1.0 }
    }
}

impl LengthConfig {
    /// The rule.
    ///
    /// # Errors
    /// No range, or one in which nothing lies; a slope or a floor that isn't one.
    pub fn build(&self) -> Result<Length, Refusal> {
        let (min, max) = (self.min.unwrap_or(0), self.max.unwrap_or(usize::MAX));
        if self.min.is_none() && self.max.is_none() {
            return Err(Refusal::new("max", "is missing, and so is `min`; give one at least"));
        }
        if min > max {
            return Err(Refusal::new("min", "must be at most `max`"));
        }
        if !(self.slope > 0.0 && self.slope.is_finite()) {
            return Err(Refusal::new("slope", "must be above 0"));
        }
        if !(self.floor < 0.0 && self.floor.is_finite()) {
            return Err(Refusal::new("floor", "must be below 0"));
        }
        Ok(Length(self.clone()))
    }
}

impl LengthUnit {
    fn count(self, completion: &Completion) -> Result<usize, Fault> {
        match self {
            Self::Words => Ok(completion.text.split_whitespace().count()),
            Self::Characters => Ok(completion.text.chars().count()),
            Self::Tokens if completion.tokens.is_empty() => Err(Fault::NoTokens),
            Self::Tokens => Ok(completion.tokens.len()),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Words => "words",
            Self::Characters => "characters",
            Self::Tokens => "tokens",
        }
    }
}

impl Rule for Length {
    fn judge(&self, completion: &Completion) -> Result<Verdict, Fault> {
        let LengthConfig { unit, min, max, slope, floor } = self.0;
        let (count, unit) = (unit.count(completion)?, unit.name());
        let (distance, reason) = match (min, max) {
            (Some(min), _) if count < min => {
                (min - count, format!("{count} of at least {min} {unit}"))
            }
            (_, Some(max)) if count > max => {
                (count - max, format!("{count} of at most {max} {unit}"))
            }
            _ => return Ok(Verdict::new(0.0, format!("{count} {unit}"))),
        };
        Ok(Verdict::new((-slope * distance as f64).max(floor), reason))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_unit_outside_of_the_range_costs() {
        let config = LengthConfig { min: Some(2), max: Some(4), ..LengthConfig::default() };
        let rule = config.build().expect("is a rule");
        let judge = |text: &str| {
            let completion = Completion { text: text.into(), ..Completion::default() };
            let Verdict { score, reason, .. } = rule.judge(&completion).expect("judges");
            (score, reason)
        };
        assert_eq!(judge("a  b c"), (0.0, "3 words".into()));
        assert_eq!(judge("a b c d e f"), (-0.2, "6 of at most 4 words".into()));
        assert_eq!(judge(" \n"), (-0.2, "0 of at least 2 words".into()));
        assert_eq!(judge(&"a ".repeat(99)).0, -1.0, "no lower than the floor");
    }

    #[test]
    fn characters_and_tokens_are_counted_too() {
        let count = |unit, tokens: Vec<u32>| {
            let text = "größe".to_owned();
            LengthUnit::count(unit, &Completion { text, tokens, ..Completion::default() })
        };
        assert_eq!(count(LengthUnit::Characters, Vec::new()), Ok(5));
        assert_eq!(count(LengthUnit::Tokens, vec![7, 8, 2]), Ok(3));
        assert_eq!(count(LengthUnit::Tokens, Vec::new()), Err(Fault::NoTokens));
    }

    #[test]
    fn ranges_that_mean_nothing_are_refused() {
        let refusal = |config: LengthConfig| config.build().expect_err("is refused").to_string();
        let none = LengthConfig::default();
        assert!(refusal(none.clone()).starts_with("`max` is missing"));
        let some = LengthConfig { min: Some(3), max: Some(2), ..none };
        assert_eq!(refusal(some.clone()), "`min` must be at most `max`");
        let some = LengthConfig { max: Some(3), ..some };
        assert_eq!(refusal(LengthConfig { slope: 0.0, ..some.clone() }), "`slope` must be above 0");
        let endless = LengthConfig { floor: f64::NEG_INFINITY, ..some };
        assert_eq!(refusal(endless), "`floor` must be below 0");
    }
}
