use std::collections::HashMap;
use std::sync::Arc;

use burn::data::dataloader::Progress;
use burn_train::Interrupter;
use burn_train::metric::{
    MetricAttributes, MetricDefinition, MetricEntry, MetricId, NumericAttributes, NumericEntry,
    SerializedEntry,
};
use burn_train::renderer::tui::TuiMetricsRendererWrapper;
use burn_train::renderer::{
    MetricState, MetricsRenderer, MetricsRendererTraining, ProgressType, TrainingProgress,
};
use rein_data::log::{Record, Watcher};
use rein_data::stage::Interrupt;

use super::stage_clock::{StageClock, clock};
use super::{evaluated, shown};
use crate::speech;

/// burn-train's dashboard: curves, values, progress and time left of the current stage.
pub(crate) struct Dashboard {
    screen: Option<Screen>,
    /// What happened while the screen was up; told when it is gone.
    notes: Vec<String>,
    interrupt: Interrupt,
}

/// The dashboard of one stage.
struct Screen {
    renderer: TuiMetricsRendererWrapper,
    /// Set by the dashboard's own quit key.
    interrupter: Interrupter,
    stage: String,
    n_steps: usize,
    clock: StageClock,
    known: HashMap<String, MetricId>,
}

impl Dashboard {
    pub(crate) fn new(interrupt: Interrupt) -> Self {
        Self { screen: None, notes: Vec::new(), interrupt }
    }

    fn close(&mut self) {
        // Dropping the screen gives the terminal back.
        self.screen = None;
        for note in self.notes.drain(..) {
            speech::note(&note);
        }
    }
}

impl Watcher for Dashboard {
    fn stage(&mut self, stage: &str, step: usize, n_steps: usize) {
        self.close();
        self.screen = Some(Screen::open(stage, step, n_steps));
    }

    fn metrics(&mut self, record: &Record) {
        let Some(screen) = &mut self.screen else { return };
        for (name, value) in shown(record) {
            let state = screen.state(name, value);
            screen.renderer.update_train(state);
        }
        for (name, value) in evaluated(record) {
            let state = screen.state(name, value);
            screen.renderer.update_valid(state);
        }
        screen.show_progress(record.step);
        if screen.interrupter.should_stop() {
            self.interrupt.set();
        }
        if record.stage == screen.stage && record.step == screen.n_steps {
            self.notes.push(format!("{}: {} steps done", record.stage, record.step));
        }
    }

    fn note(&mut self, text: &str) {
        self.notes.push(text.to_owned());
        if self.screen.is_none() {
            self.close();
        }
    }
}

impl Drop for Dashboard {
    fn drop(&mut self) {
        self.close();
    }
}

impl Screen {
    fn open(stage: &str, step: usize, n_steps: usize) -> Self {
        let interrupter = Interrupter::new();
        let renderer = open_quietly(interrupter.clone());
        let stage = stage.to_owned();
        let clock = StageClock::start(step, n_steps);
        Self { renderer, interrupter, stage, n_steps, clock, known: HashMap::new() }
    }

    fn state(&mut self, name: &str, value: f64) -> MetricState {
        let id = self.metric(name);
        let text = SerializedEntry::new(format!("{value:.4}"), value.to_string());
        MetricState::Numeric(MetricEntry::new(id, text), NumericEntry::Value(value))
    }

    fn metric(&mut self, name: &str) -> MetricId {
        if let Some(id) = self.known.get(name) {
            return id.clone();
        }
        let id = MetricId::new(Arc::new(name.to_owned()));
        self.renderer.register_metric(MetricDefinition {
            metric_id: id.clone(),
            name: name.to_owned(),
            description: None,
            attributes: MetricAttributes::Numeric(NumericAttributes::default()),
        });
        self.known.insert(name.to_owned(), id.clone());
        id
    }

    fn show_progress(&mut self, step: usize) {
        let progress = Progress::new(step, self.n_steps);
        let tag = format!("{}, {} left", self.stage, clock(self.clock.left(step)));
        // The stage is one epoch: so the dashboard estimates its own time left from steps, too.
        let item = TrainingProgress {
            progress: Some(progress.clone()),
            global_progress: Progress::new(1, 1),
            iteration: Some(step),
        };
        self.renderer.render_train(item, vec![ProgressType::Detailed { tag, progress }]);
    }
}

/// The renderer polls its queue without a pause, in a thread of its own. Threads inherit their
/// priority, so it is started from one that has given way to everyone else.
fn open_quietly(interrupter: Interrupter) -> TuiMetricsRendererWrapper {
    let open = move || {
        terminal::lower_priority();
        TuiMetricsRendererWrapper::new(interrupter, None)
    };
    let renderer = std::thread::spawn(open).join().expect("opening the dashboard does not panic");
    terminal::keep_interrupts();
    renderer
}

#[cfg(unix)]
mod terminal {
    use std::io::stdin;
    use std::time::{Duration, Instant};

    use rustix::process::setpriority_process;
    use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

    /// Lets other threads go first.
    pub(super) fn lower_priority() {
        let _ = setpriority_process(None, 19);
    }

    /// The dashboard puts the terminal into raw mode, where Ctrl-C is a key like any other; this
    /// makes it an interrupt again. The mode is set in another thread, so it is waited for.
    pub(super) fn keep_interrupts() {
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(2) {
            let Ok(mut modes) = tcgetattr(stdin()) else { return };
            if !modes.local_modes.contains(LocalModes::ICANON) {
                modes.local_modes |= LocalModes::ISIG;
                let _ = tcsetattr(stdin(), OptionalActions::Now, &modes);
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

#[cfg(not(unix))]
mod terminal {
    pub(super) fn lower_priority() {}
    pub(super) fn keep_interrupts() {}
}

impl std::fmt::Debug for Dashboard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dashboard").field("notes", &self.notes).finish_non_exhaustive()
    }
}
