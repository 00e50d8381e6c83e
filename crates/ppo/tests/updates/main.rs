//! Whole updates, and what goes into them. They are one program, since what they share takes long to compile.

mod ends;
mod experiences;
mod family;
#[path = "../../../../fixtures/golden.rs"]
mod golden;
mod halves;
mod importance;
mod kto_golden;
mod mixture;
mod on_policy;
mod online_dpo;
mod overlap;
mod ppo_golden;
mod preference;
mod preference_golden;
mod recompute;
mod red_team;
mod run;
mod seat;
mod steering;
mod trl;
mod trpo;
