//! `rein reward adapt`: what one person likes, from a few of their answers.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Result, bail};
use clap::Args;
use rein_data::encoder::Encoder;
use rein_data::tokenizer::Tokenizer;
use rein_model::backend::LmAutodiffBackend;
use rein_model::guard::rows_fit;
use rein_model::{load_scalar_model, read_config, require_weights};
use rein_reward::encoding::Pair;
use rein_reward::evaluate::Share;
use rein_reward::meta::{Person, Personal, PersonalReward, Taste, differences, told_right};

use crate::annotated::{Reading, read_pairs};
use crate::args::HubArgs;
use crate::chat_template::chat_template;
use crate::device::{BackendName, Work, run_on};
use crate::hub;
use crate::inference::tokenizer_of;
use crate::speech::print;

#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  # A reward model that knows in which ways people differ: rows of the column `annotator` say who judged
  rein reward --config run.toml --set reward.personal.method=basis
  # Eight answers of one person, and then scores, the best of 16 or a policy for that person
  rein reward adapt --reward-model RM --labels ann.jsonl --output ann.json
  rein reward adapt --reward-model RM --labels ann.jsonl --output ann.json --model-output RM-ann
  rein rl --config run.toml --model DIR --reward-model RM-ann
  rein score --model RM --person ann.json --input rows.jsonl
  rein generate --model DIR --input rows.jsonl --samples 16 --reward-model RM --person ann.json --best 1")]
pub(crate) struct AdaptArgs {
    /// The reward model, trained with `reward.personal`: a folder, or `owner/name` of the Hugging Face Hub
    #[arg(long, value_name = "MODEL")]
    reward_model: PathBuf,
    /// What the person said: rows with `prompt`, `chosen` and `rejected`, texts or lists of messages. An empty
    /// choice of rows gives a person of whom nothing is known
    #[arg(long, value_name = "FILE")]
    labels: PathBuf,
    /// Take only the rows of this `annotator`
    #[arg(long, value_name = "NAME")]
    annotator: Option<String>,
    /// Take so many rows, the first ones, and measure with the others
    #[arg(long, value_name = "K")]
    first: Option<usize>,
    /// Measure how often the person is told right on these rows
    #[arg(long, value_name = "FILE")]
    heldout: Option<PathBuf>,
    /// Where the person is written
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    /// Also write the reward model with the person's head: a reward model as any other, for `rein rl` and
    /// whatever else takes one
    #[arg(long, value_name = "DIR")]
    model_output: Option<PathBuf>,
    /// How messages become text: chatml, llama3, zephyr or a Jinja file; the model's own template if
    /// left out
    #[arg(long, value_name = "NAME|FILE")]
    chat_template: Option<String>,
    /// Use only models that lie here or in the Hub's cache
    #[arg(long)]
    offline: bool,
    /// Rows computed side by side
    #[arg(long, value_name = "ROWS", default_value_t = 16)]
    batch_size: usize,
    /// Where to compute; the build's first backend if left out
    #[arg(long, value_enum)]
    backend: Option<BackendName>,
}

/// Adapts a reward model to a person and says what came of it.
pub(crate) fn run(args: &AdaptArgs) -> Result<()> {
    run_on(args.backend.unwrap_or_else(BackendName::default_of_build), Adapt::new(args)?)
}

struct Adapt<'a> {
    args: &'a AdaptArgs,
    folder: PathBuf,
    tokenizer: Tokenizer,
    labels: Vec<Pair>,
    heldout: Vec<Pair>,
}

impl<'a> Adapt<'a> {
    fn new(args: &'a AdaptArgs) -> Result<Self> {
        if args.batch_size == 0 {
            bail!("`--batch-size` is 0; it must be above 0");
        }
        let hub = HubArgs { revision: None, offline: args.offline };
        let folder = hub::resolve(&args.reward_model, &hub)?;
        require_weights(&folder)?;
        let tokenizer = tokenizer_of(&folder)?;
        let template = chat_template(&tokenizer, args.chat_template.as_deref())?;
        let encoder = Encoder::new(tokenizer.clone(), template, None);
        let config = read_config(&folder)?;
        let max_tokens = config.max_positions;
        let reading = Reading { encoder: &encoder, max_tokens };
        let read = |path: &PathBuf| -> Result<Vec<Pair>> {
            let rows = read_pairs(path, &reading, |_| true)?.into_iter();
            let rows = rows.filter(|(name, _)| args.annotator.is_none() || *name == args.annotator);
            let pairs: Vec<Pair> = rows.map(|(_, pair)| pair).collect();
            let sides: Vec<&[u32]> =
                pairs.iter().flat_map(|it| [it.chosen.as_slice(), &it.rejected]).collect();
            rows_fit(&config, &sides, 0)?;
            Ok(pairs)
        };
        let mut labels = read(&args.labels)?;
        if let Some(folder) = args.model_output.as_ref().filter(|it| it.exists()) {
            bail!("{}: is there already; name a new folder", folder.display());
        }
        if let (Some(name), true) = (&args.annotator, labels.is_empty()) {
            bail!("{}: no row has the annotator {name:?}", args.labels.display());
        }
        let mut heldout = labels.split_off(args.first.unwrap_or(labels.len()).min(labels.len()));
        if let Some(path) = &args.heldout {
            heldout.extend(read(path)?);
        }
        Ok(Self { args, folder, tokenizer, labels, heldout })
    }
}

impl Work for Adapt<'_> {
    type Output = ();

    fn run<B: LmAutodiffBackend>(self, device: B::Device) -> Result<()> {
        let Self { args, folder, tokenizer, labels, heldout } = self;
        let model = load_scalar_model::<B::InnerBackend>(&folder, &device)?;
        let personal = Personal::load(&folder, &model.head())?;
        let of = |pairs: &[Pair]| differences(&model, pairs, args.batch_size, &device);
        let began = Instant::now();
        let said = of(&labels);
        let for_features = began.elapsed();
        let began = Instant::now();
        let person = personal.adapt(&said);
        let for_person = began.elapsed();
        person.save(&args.output)?;
        print(&format!(
            "{} answer{}: features in {:.1} ms, the person in {:.2} ms\n{}",
            labels.len(),
            if labels.len() == 1 { "" } else { "s" },
            1e3 * for_features.as_secs_f64(),
            1e3 * for_person.as_secs_f64(),
            described(&person)
        ));
        if !heldout.is_empty() {
            let asked = of(&heldout);
            let own = told_right(&personal.head(&person), &asked);
            let anybody = told_right(&personal.head(&personal.adapt(&[])), &asked);
            print(&format!(
                "held-out answers told right: {}; before: {}\n",
                shown(&own),
                shown(&anybody)
            ));
        }
        print(&format!("person: {}\n", args.output.display()));
        if let Some(output) = &args.model_output {
            let rows = args.batch_size;
            let reward =
                PersonalReward::<B::InnerBackend>::load(&folder, &args.output, rows, &device)?;
            reward.save(Some(&tokenizer), output)?;
            print(&format!("model:  {}\n", output.display()));
        }
        Ok(())
    }
}

fn shown(share: &Share) -> String {
    let (low, high) = share.interval();
    format!(
        "{:.1} % of {} (95 % interval {:.1} to {:.1} %)",
        100.0 * share.value(),
        share.n_cases,
        100.0 * low,
        100.0 * high
    )
}

/// Coordinates with their deviations.
fn described(person: &Person) -> String {
    match &person.taste {
        Taste::Basis { mean, .. } if mean.is_empty() => {
            "people are too much alike to tell this one apart\n".into()
        }
        Taste::Basis { mean, covariance } => {
            let each = mean.iter().enumerate();
            let each =
                each.map(|(place, z)| format!("{z:.2} ± {:.2}", covariance[place][place].sqrt()));
            format!("coordinates: {}\n", each.collect::<Vec<_>>().join(", "))
        }
        Taste::Head { head } => format!("a head of {} numbers\n", head.len()),
    }
}
