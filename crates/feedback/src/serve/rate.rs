//! How many requests somebody may send: a bucket of tokens each, which fills steadily.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Buckets that are remembered before full ones are forgotten.
const REMEMBERED: usize = 4096;

/// Buckets by whom they belong to.
#[derive(Debug)]
pub(super) struct Rate {
    per_second: f64,
    buckets: Mutex<HashMap<String, Bucket>>,
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

impl Rate {
    /// So many requests a second, and twice as many at once.
    pub(super) fn new(per_second: u32) -> Self {
        Self { per_second: f64::from(per_second.max(1)), buckets: Mutex::default() }
    }

    /// Takes a token; if there is none, tells when there will be one.
    pub(super) fn take(&self, whose: &str, now: Instant) -> Result<(), Duration> {
        let most = 2.0 * self.per_second;
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= REMEMBERED {
            let full = Duration::from_secs(2);
            buckets.retain(|_, bucket| now.duration_since(bucket.at) < full);
        }
        let bucket = buckets.entry(whose.to_owned()).or_insert(Bucket { tokens: most, at: now });
        let since = now.duration_since(bucket.at).as_secs_f64();
        bucket.tokens = (bucket.tokens + since * self.per_second).min(most);
        bucket.at = now;
        if bucket.tokens < 1.0 {
            return Err(Duration::from_secs_f64((1.0 - bucket.tokens) / self.per_second));
        }
        bucket.tokens -= 1.0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_allowed_and_then_the_rate() {
        let rate = Rate::new(20);
        let begin = Instant::now();
        let n_at_once = (0..100).take_while(|_| rate.take("a", begin).is_ok()).count();
        assert_eq!(n_at_once, 40);
        assert_eq!(rate.take("a", begin), Err(Duration::from_millis(50)));
        assert!(rate.take("b", begin).is_ok(), "others have buckets of their own");
        let later = begin + Duration::from_secs(1);
        let n_later = (0..100).take_while(|_| rate.take("a", later).is_ok()).count();
        assert_eq!(n_later, 20);
    }
}
