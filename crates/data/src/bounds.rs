//! How much a `tokenizer.json` may hold.
//!
//! Its parser keeps every value until it knows what it is: a file of 60 MB made of empty lists takes
//! gigabytes. So the values are counted first, without keeping any.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// All values together. The largest vocabularies in use, of 262,144 entries, need 2 million.
const MAX_VALUES: usize = 3_000_000;
/// Items of a list or object: the entries of the largest vocabulary that a model may have.
const MAX_ITEMS: usize = 1 << 20;
/// Tokens beside the vocabulary, each of which is searched for in every text.
const MAX_ADDED_TOKENS: usize = 1 << 15;

/// Says what there is too much of.
pub(crate) fn check(json: &[u8]) -> Result<(), String> {
    let mut n_left = MAX_VALUES;
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let counter = Counter { n_left: &mut n_left, max_items: MAX_ITEMS };
    counter.deserialize(&mut deserializer).map_err(|error| error.to_string())
}

struct Counter<'a> {
    n_left: &'a mut usize,
    max_items: usize,
}

impl Counter<'_> {
    fn count<E: Error>(&mut self, n_items: usize) -> Result<(), E> {
        if n_items > self.max_items {
            return Err(E::custom(format!("more than {} items in one place", self.max_items)));
        }
        *self.n_left = self.n_left.checked_sub(1).ok_or_else(|| {
            E::custom(format!("more than {MAX_VALUES} values; no tokenizer needs so many"))
        })?;
        Ok(())
    }

    /// A counter for what lies within.
    fn inner(&mut self, max_items: usize) -> Counter<'_> {
        Counter { n_left: self.n_left, max_items }
    }
}

impl<'de> DeserializeSeed<'de> for Counter<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Counter<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
        let mut n_items = 0;
        while items.next_element_seed(self.inner(MAX_ITEMS))?.is_some() {
            n_items += 1;
            self.count(n_items)?;
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut entries: A) -> Result<(), A::Error> {
        let mut n_items = 0;
        while let Some(key) = entries.next_key::<Key>()? {
            let max_items = if key.is_added_tokens { MAX_ADDED_TOKENS } else { MAX_ITEMS };
            entries.next_value_seed(self.inner(max_items))?;
            n_items += 1;
            self.count(n_items)?;
        }
        Ok(())
    }
}

/// A key, looked at and dropped.
struct Key {
    is_added_tokens: bool,
}

impl<'de> serde::Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Name;

        impl Visitor<'_> for Name {
            type Value = Key;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a key")
            }

            fn visit_str<E>(self, name: &str) -> Result<Key, E> {
                Ok(Key { is_added_tokens: name == "added_tokens" })
            }
        }

        deserializer.deserialize_str(Name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_much_of_anything_is_told() {
        let list = |item: &str, n_items: usize| {
            format!("[{}{item}]", format!("{item},").repeat(n_items - 1))
        };
        assert_eq!(check(list("[]", MAX_ITEMS).as_bytes()), Ok(()));
        let error = |json: String| check(json.as_bytes()).expect_err("is refused");
        assert!(error(list("[]", MAX_ITEMS + 1)).starts_with("more than 1048576 items"));
        let nested = list(&list("1", 1000), 4000);
        assert!(error(nested).starts_with("more than 3000000 values; no tokenizer needs so many"));
        let added = format!("{{\"added_tokens\":{}}}", list("1", MAX_ADDED_TOKENS + 1));
        assert!(error(added).starts_with("more than 32768 items"));
        assert!(error("[".repeat(1000)).starts_with("recursion limit exceeded"));
    }
}
