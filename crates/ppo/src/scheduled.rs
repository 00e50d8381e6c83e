//! Numbers that may change with the steps of a run.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// A number that stays, or that goes from one to another: `0.7`, or
/// `{ kind = "linear", from = 1.0, to = 0.7, steps = 100 }`. It has no state: the step says it all.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Scheduled {
    /// The same all the time.
    Constant(f32),
    /// From one to another.
    Ramp(Ramp),
}

/// The way from one number to another: `from + (to − from) · w(s)`, with `s = min(step / steps, 1)`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ramp {
    /// The form of the way.
    pub kind: RampKind,
    /// At the first step.
    pub from: f32,
    /// At step `steps`, and from then on.
    pub to: f32,
    /// How many steps it takes.
    pub steps: usize,
}

/// The form of a way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RampKind {
    /// In a line: `w(s) = s`.
    Linear,
    /// Along half a cosine: `w(s) = (1 − cos(π s)) / 2`.
    Cosine,
}

impl Scheduled {
    /// The number at step `step`, counted from 0.
    pub fn at(self, step: usize) -> f32 {
        match self {
            Self::Constant(value) => value,
            Self::Ramp(ramp) => ramp.at(step),
        }
    }

    /// What is wrong with it, if not all of its numbers are `fine`, which `rule` says in words.
    pub(crate) fn problems(self, key: &str, fine: impl Fn(f32) -> bool, rule: &str) -> Vec<String> {
        let checks = match self {
            Self::Constant(value) => vec![(key.to_owned(), fine(value), rule)],
            Self::Ramp(Ramp { from, to, steps, .. }) => vec![
                (format!("{key}.from"), fine(from), rule),
                (format!("{key}.to"), fine(to), rule),
                (format!("{key}.steps"), steps > 0, "above 0"),
            ],
        };
        let broken = checks.into_iter().filter(|(_, fine, _)| !fine);
        broken.map(|(key, _, rule)| format!("`{key}` must be {rule}")).collect()
    }
}

impl Ramp {
    fn at(self, step: usize) -> f32 {
        let share = (step as f64 / self.steps.max(1) as f64).min(1.0);
        let way = match self.kind {
            RampKind::Linear => share,
            RampKind::Cosine => 0.5 * (1.0 - (std::f64::consts::PI * share).cos()),
        };
        // `from` at 0 and `to` at 1, to the bit.
        (f64::from(self.from) * (1.0 - way) + f64::from(self.to) * way) as f32
    }
}

impl From<f32> for Scheduled {
    fn from(value: f32) -> Self {
        Self::Constant(value)
    }
}

impl<'de> Deserialize<'de> for Scheduled {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        number_or_table(deserializer, |value| Self::Constant(value as f32), Self::Ramp)
    }
}

/// Reads a number or a table. Unlike serde's untagged enums, it says what is wrong with a table.
pub(crate) fn number_or_table<'de, D, T, V>(
    deserializer: D,
    of_number: fn(f64) -> V,
    of_table: fn(T) -> V,
) -> Result<V, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    deserializer.deserialize_any(NumberOrTable { of_number, of_table, table: PhantomData })
}

struct NumberOrTable<T, V> {
    of_number: fn(f64) -> V,
    of_table: fn(T) -> V,
    table: PhantomData<T>,
}

impl<'de, T: Deserialize<'de>, V> Visitor<'de> for NumberOrTable<T, V> {
    type Value = V;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number or a table")
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<V, E> {
        Ok((self.of_number)(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<V, E> {
        self.visit_f64(value as f64)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<V, E> {
        self.visit_f64(value as f64)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<V, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(self.of_table)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ramp(kind: RampKind) -> Scheduled {
        Scheduled::Ramp(Ramp { kind, from: 1.2, to: 0.4, steps: 8 })
    }

    #[test]
    fn ramps_go_from_one_end_to_the_other() {
        let (linear, cosine) = (ramp(RampKind::Linear), ramp(RampKind::Cosine));
        // Linear: 1.2 − 0.8 · 1/4. Cosine: 0.4 + 0.8 · (1 + cos(π/4)) / 2 = 0.4 + 0.4 · 1.707107.
        for (step, in_a_line, along_a_cosine) in
            [(0, 1.2, 1.2), (2, 1.0, 1.082_843), (4, 0.8, 0.8), (8, 0.4, 0.4), (99, 0.4, 0.4)]
        {
            assert!((linear.at(step) - in_a_line).abs() < 1e-6, "{step}");
            assert!((cosine.at(step) - along_a_cosine).abs() < 1e-6, "{step}");
        }
        assert_eq!([linear.at(0), linear.at(8), cosine.at(0), cosine.at(8)], [1.2, 0.4, 1.2, 0.4]);
        assert_eq!(Scheduled::from(0.7).at(3), 0.7);
    }

    #[test]
    fn numbers_that_mean_nothing_are_refused_by_name() {
        let positive = |value: f32| value > 0.0 && value.is_finite();
        let broken = Ramp { kind: RampKind::Linear, from: 0.0, to: f32::NAN, steps: 0 };
        let want = ["from", "to", "steps"].map(|key| format!("`t.{key}` must be above 0"));
        assert_eq!(Scheduled::Ramp(broken).problems("t", positive, "above 0"), want);
        assert_eq!(
            Scheduled::from(-1.0).problems("t", positive, "above 0"),
            ["`t` must be above 0"]
        );
        assert!(ramp(RampKind::Cosine).problems("t", positive, "above 0").is_empty());
    }

    #[test]
    fn configs_are_read_and_what_is_wrong_is_said() {
        let read =
            |text: &str| serde_json::from_str::<Scheduled>(text).map_err(|it| it.to_string());
        assert_eq!(read("0.7"), Ok(Scheduled::Constant(0.7)));
        assert_eq!(read("1"), Ok(Scheduled::Constant(1.0)));
        let text = r#"{ "kind": "cosine", "from": 1.2, "to": 0.4, "steps": 8 }"#;
        assert_eq!(read(text), Ok(ramp(RampKind::Cosine)));
        let error = read(r#"{ "kind": "linear", "from": 1, "to": 0.5, "step": 8 }"#);
        assert!(error.expect_err("is refused").starts_with("unknown field `step`"));
        assert!(read("\"warm\"").expect_err("is refused").contains("a number or a table"));
        for value in [Scheduled::from(0.25), ramp(RampKind::Linear)] {
            let text = serde_json::to_string(&value).expect("is plain JSON");
            assert_eq!(read(&text), Ok(value));
        }
    }
}
