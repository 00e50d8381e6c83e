//! What people did with responses, instead of what they said of them.
//!
//! Clicks depend on where a response stood as much as on what it says: who trains on raw clicks teaches
//! the model the old order. So an [event log](EventLog) keeps the place of everything that was shown;
//! [`Propensities`] say how often each place is looked at, measured from orders that were drawn at
//! random; [`ips`] and [`snips`] divide by it; the click models [`PositionBased`] and [`Cascade`] explain
//! the clicks by it. [`harvest`] turns all signals into weighted pairs for a reward model, in which no
//! user counts for much and suspected [robots](screen) for nothing.
//!
//! # The log
//!
//! JSON lines, one [`Impression`] a line: a list of responses to one prompt, and what one user did with
//! it. Unknown keys and other versions than 1 are refused.
//!
//! | key | meaning |
//! |---|---|
//! | `v` | version of the format: 1 |
//! | `ts_ms` | when the list was shown, in milliseconds since 1970 |
//! | `session`, `user_hash` | whose list it was; never a name or an address |
//! | `request_id` | name of the impression, once in a log |
//! | `prompt_id` | what the responses answer |
//! | `items` | `response_id`, its place `pos` from 1 at the top, and `shown_ms`: for how long it was in view |
//! | `events` | what was done, see below |
//! | `policy_propensity` | probability with which this order was drawn, above 0 and up to 1; null or left out if none was drawn |
//!
//! An event has a `type`, the `response_id` it concerns, and `t_ms`, the time since the list was shown.
//! `visible_ms` is for how long the response had been open in a visible window when the line was written.
//!
//! | `type` | meaning | more keys |
//! |---|---|---|
//! | `click` | opened | `visible_ms`, if known |
//! | `copy` | taken over: copied, inserted, accepted | |
//! | `regenerate` | another answer was asked for | |
//! | `thumb` | a thumb was given | `up`: true or false |
//! | `edit` | rewritten by the user | `text`, or `edited_id` if the new text has an id; one of them |
//! | `close` | left | `visible_ms`, if known |
//!
//! Texts are kept apart ([`Texts`]), so that the log can outlive them. What live mode of a server and programs that use it
//! reported is read from the store ([`acts`]).
//!
//! ```
//! use std::io::Write;
//! use rein_feedback::implicit::{HarvestConfig, Reason, Texts, harvest, read_log};
//!
//! let mut log = tempfile::NamedTempFile::new()?;
//! let line = r#"{"v":1,"ts_ms":1700000000000,"session":"s1","user_hash":"u1","request_id":"r1",
//!     "prompt_id":"p1","items":[{"response_id":"a","pos":1,"shown_ms":9000},
//!     {"response_id":"b","pos":2,"shown_ms":8000}],"events":[
//!     {"type":"click","response_id":"b","t_ms":2100,"visible_ms":45000},
//!     {"type":"edit","response_id":"b","t_ms":60000,"text":"A better one."}],
//!     "policy_propensity":0.5}"#;
//! writeln!(log, "{}", line.replace('\n', ""))?;
//!
//! let mut texts = Texts::default();
//! texts.add("p1", "Where is my parcel?", "a", "No idea.")?;
//! texts.add("p1", "Where is my parcel?", "b", "On its way.")?;
//! let found = harvest(&read_log(log.path())?, &texts, &HarvestConfig::default())?;
//! let [edit, click] = &found.pairs[..] else { panic!("{found:?}") };
//! assert_eq!((edit.reason, &edit.chosen), (Reason::Edit, &"A better one.".into()));
//! assert_eq!((click.reason, &click.chosen), (Reason::SkipAbove, &"On its way.".into()));
//! assert_eq!(click.rejected, "No idea.".into());
//! assert_eq!(click.weight, 0.2);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod cascade;
mod checks;
mod dwell;
mod events;
mod log;
mod pairs;
mod position_based;
mod propensity;
mod relevance;
mod reported;
mod screening;
mod share;
mod signals;
mod simulate;
mod tally;
mod texts;

pub use cascade::{Cascade, Continuation};
pub use dwell::{IDLE_MS, satisfied_after_ms};
pub use events::{Event, Impression, Item};
pub use log::{EventLog, VERSION, read_log};
pub use pairs::{ClickPairs, Harvest, HarvestConfig, ImplicitPair, Reason, Source, harvest};
pub use position_based::PositionBased;
pub use propensity::{DEFAULT_CLIP, Propensities};
pub use relevance::{click_rates, ips, snips};
pub use reported::{Acts, acts};
pub use screening::{Suspicion, screen};
pub use share::{bounded, largest_share};
pub use simulate::{Simulated, Simulation};
pub use tally::{Cell, Shown, Tally};
pub use texts::Texts;
