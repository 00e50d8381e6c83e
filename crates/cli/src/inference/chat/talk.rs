use std::io::{Stdout, Write, stdout};
use std::ops::ControlFlow;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use rein_data::chat::encode_chat;
use rein_data::seed::Seed;
use rein_model::backend::LmBackend;
use rein_model::{CausalLm, Finish, Generated, Session};

use super::Chat;
use super::history::{History, Saved};
use super::interrupts::Interrupts;
use super::lines::{Line, Lines};
use crate::commands::INTERRUPTED;
use crate::inference::terminal::harmless;
use crate::inference::texts::Texts;
use crate::speech::note;

const HELP: &str = "\
/undo        take back your last message and its reply
/reset       begin another conversation
/save FILE   append the conversation to FILE, and keep it there up to date
/quit        leave, as Ctrl-D does
\"\"\"          begins and ends a message of several lines
Ctrl-C       stops a reply; twice leaves";

/// A conversation going on.
pub(super) struct Talk<'a, B: LmBackend> {
    chat: Chat<'a>,
    session: Session<'a, B>,
    history: History,
    /// Replies so far, those taken back included: each draws numbers of its own.
    n_replies: u64,
    interrupts: Interrupts,
    out: Stdout,
}

/// What became of a reply.
struct Reply {
    text: String,
    generated: Generated,
}

impl<'a, B: LmBackend> Talk<'a, B> {
    pub(super) fn new(
        chat: Chat<'a>,
        model: &'a CausalLm<B>,
        device: &'a B::Device,
    ) -> Result<Self> {
        Ok(Self {
            session: Session::new(model, device),
            history: History::new(chat.args.system.as_deref()),
            n_replies: 0,
            interrupts: Interrupts::catch()?,
            out: stdout(),
            chat,
        })
    }

    pub(super) fn run(mut self) -> Result<ExitCode> {
        let mut lines = Lines::open()?;
        if lines.is_terminal() {
            note("Type a message, or /help; Ctrl-D leaves.");
        }
        let mut was_interrupted = false;
        loop {
            let line = lines.next()?;
            let is_again = std::mem::replace(&mut was_interrupted, line == Line::Interrupt);
            match line {
                Line::End => return Ok(ExitCode::SUCCESS),
                Line::Interrupt if is_again => return Ok(ExitCode::from(INTERRUPTED)),
                Line::Interrupt => note("(Ctrl-C once more leaves)"),
                Line::Text(text) if text.trim().is_empty() => {}
                Line::Text(text) => match text.strip_prefix('/') {
                    Some(command) if self.obey(command)?.is_break() => {
                        return Ok(ExitCode::SUCCESS);
                    }
                    Some(_) => {}
                    None => {
                        self.answer(&text)?;
                        if self.interrupts.n_pressed() > 1 {
                            return Ok(ExitCode::from(INTERRUPTED));
                        }
                    }
                },
            }
        }
    }

    /// Does what a line with a slash asks for. `Break` leaves.
    fn obey(&mut self, command: &str) -> Result<ControlFlow<()>> {
        let (name, argument) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
        match (name, argument.trim()) {
            ("help", "") => note(HELP),
            ("quit", "") => return Ok(ControlFlow::Break(())),
            ("undo", "") if self.history.undo() => {
                note("(taken back)");
                self.save();
            }
            ("undo", "") => note("(there is nothing to take back)"),
            ("reset", "") => {
                self.history.reset();
                if let Some(saved) = &mut self.chat.saved {
                    saved.next().context("--save")?;
                }
                note("(a new conversation)");
            }
            ("save", path) if !path.is_empty() => match Saved::open(Path::new(path)) {
                Ok(saved) => {
                    self.chat.saved = Some(saved);
                    self.save();
                }
                Err(error) => note(&format!("({path}: {error})")),
            },
            _ => note(&format!("(`/{command}` is no command; /help lists them)")),
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Says what the model replies. A message that can't be replied to is taken back.
    fn answer(&mut self, text: &str) -> Result<()> {
        self.history.ask(text);
        let prompt = match self.prompt() {
            Ok(prompt) => prompt,
            Err(error) => {
                self.history.undo();
                note(&format!("({error:#}; your message was taken back)"));
                return Ok(());
            }
        };
        let reply = self.reply(&prompt)?;
        let was_stopped = self.interrupts.n_pressed() > 0;
        let refusal = self.chat.settings.refusal(&reply.generated).map(str::to_owned);
        if let Some(refusal) = &refusal {
            write!(self.out, "{}", harmless(refusal)).context("standard output")?;
        }
        writeln!(self.out).context("standard output")?;
        let said = refusal.unwrap_or(reply.text);
        match reply.generated.finish {
            _ if was_stopped => note("(stopped)"),
            Finish::Length => {
                let n_tokens = reply.generated.tokens.len();
                note(&format!("(cut at {n_tokens} tokens; see --max-new-tokens)"));
            }
            Finish::Stop | Finish::Guard => {}
        }
        self.history.reply(&said);
        self.save();
        Ok(())
    }

    /// The conversation as tokens, without the oldest turns if the model has no room for them.
    fn prompt(&mut self) -> Result<Vec<u32>> {
        let Chat { tokenizer, template, settings, n_positions, .. } = &self.chat;
        let room = n_positions.saturating_sub(settings.sampling.max_new_tokens);
        let mut n_cut = 0;
        loop {
            let messages = self.history.visible();
            let n_tokens = match encode_chat(&messages, None, true, template, tokenizer)?.tokens {
                tokens if tokens.len() <= room => {
                    if n_cut > 0 {
                        note(&format!("(the model has no room for the {n_cut} oldest turns)"));
                    }
                    return Ok(tokens);
                }
                tokens => tokens.len(),
            };
            if !self.history.cut() {
                bail!("the message makes {n_tokens} tokens, and there is room for {room}");
            }
            n_cut += 1;
        }
    }

    /// Samples a reply and shows it.
    fn reply(&mut self, prompt: &[u32]) -> Result<Reply> {
        let Self { chat, session, interrupts, out, .. } = self;
        let Chat { settings, tokenizer, args, .. } = &*chat;
        let seed = Seed::new(args.sampling.seed).index(self.n_replies);
        self.n_replies += 1;
        let mut written = Ok(());
        let mut reader = |piece: &str| {
            if !piece.is_empty() {
                written = out.write_all(harmless(piece).as_bytes()).and_then(|()| out.flush());
            }
            let goes_on = written.is_ok() && interrupts.n_pressed() == 0;
            if goes_on { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        };
        let mut texts = Texts::new(settings, Some(tokenizer)).read_by(&mut reader);
        let generated =
            interrupts.during(|| session.reply(prompt, &settings.sampling, seed, &mut texts))?;
        let text = texts.take(0).unwrap_or_default();
        written.context("standard output")?;
        Ok(Reply { text, generated })
    }

    /// Brings the file up to date, if there is one. A full disk is no reason to end a conversation.
    fn save(&mut self) {
        if let Some(saved) = &mut self.chat.saved
            && let Err(error) = saved.update(&self.history)
        {
            note(&format!("(the conversation can't be saved: {error})"));
        }
    }
}
