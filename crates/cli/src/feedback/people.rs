use anyhow::Result;
use clap::Args;
use rein_feedback::{Role, Store};

use super::places::StoreArgs;
use crate::speech::print;

/// Who may judge.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  rein feedback people --run runs/mine --add ann --add bob
  rein feedback people --run runs/mine --suspend bob

A token is shown once, and only its hash is stored: whoever loses it gets another one, and the old one
is worth nothing any more. A link is the server's address with `#token=…` behind it.")]
pub(super) struct PeopleArgs {
    #[command(flatten)]
    store: StoreArgs,
    /// Let somebody judge, with a new token. Can be given many times
    #[arg(long, value_name = "NAME")]
    add: Vec<String>,
    /// Let somebody judge and see what everybody does, with a new token
    #[arg(long, value_name = "NAME")]
    add_admin: Vec<String>,
    /// Don't let somebody judge any more; what they said stays
    #[arg(long, value_name = "NAME")]
    suspend: Vec<String>,
    /// Let somebody judge again
    #[arg(long, value_name = "NAME")]
    restore: Vec<String>,
}

/// Changes who may judge, and says who they are.
pub(super) fn run(args: &PeopleArgs) -> Result<()> {
    let mut store = Store::open(&args.store.path()?)?;
    let tokens = store.change(|change| {
        let new = args.add.iter().map(|name| (name, Role::Person));
        let new = new.chain(args.add_admin.iter().map(|name| (name, Role::Admin)));
        let mut tokens = Vec::new();
        for (name, role) in new {
            change.add_annotator(name, role)?;
            tokens.push((name, change.new_token(name)?));
        }
        for (names, is_suspended) in [(&args.suspend, true), (&args.restore, false)] {
            names.iter().try_for_each(|name| change.suspend(name, is_suspended))?;
        }
        Ok(tokens)
    })?;
    for annotator in store.annotators()? {
        let state = if annotator.is_suspended { ", suspended" } else { "" };
        print(&format!("{} ({}{state})\n", annotator.name, annotator.role.as_str()));
    }
    for (name, token) in tokens {
        print(&format!("token of {name}: {token}\n"));
    }
    Ok(())
}
