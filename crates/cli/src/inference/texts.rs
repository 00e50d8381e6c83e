use std::collections::HashMap;
use std::ops::ControlFlow;

use rein_data::text_stream::StoppingText;
use rein_data::tokenizer::Tokenizer;
use rein_model::{Generated, Monitor};

use super::settings::Settings;

/// Reads along while rows are generated: stops them at stop strings, holds them against the rules, and
/// passes their text on. Without a tokenizer there is no text, and everything passes.
pub(super) struct Texts<'a> {
    settings: &'a Settings,
    tokenizer: Option<&'a Tokenizer>,
    rows: HashMap<usize, StoppingText>,
    reader: Option<Reader<'a>>,
}

/// Gets the text of a row, piece by piece, and is asked at each token whether to go on.
type Reader<'a> = &'a mut dyn FnMut(&str) -> ControlFlow<()>;

impl<'a> Texts<'a> {
    pub(super) fn new(settings: &'a Settings, tokenizer: Option<&'a Tokenizer>) -> Self {
        Self { settings, tokenizer, rows: HashMap::new(), reader: None }
    }

    /// The text of a single row goes to `reader`, too: as it comes, or, where rules are to be kept, once
    /// it has kept them.
    pub(super) fn read_by(self, reader: Reader<'a>) -> Self {
        Self { reader: Some(reader), ..self }
    }

    /// The text of a row that has ended.
    pub(super) fn take(&mut self, row: usize) -> Option<String> {
        self.rows.remove(&row).map(|it| it.text().to_owned())
    }
}

impl Monitor for Texts<'_> {
    fn begin(&mut self, row: usize) {
        if let Some(tokenizer) = self.tokenizer {
            let Settings { stops, sampling, .. } = self.settings;
            let text = StoppingText::new(tokenizer, stops.clone(), sampling.min_new_tokens);
            self.rows.insert(row, text);
        }
    }

    fn token(&mut self, row: usize, token: u32) -> ControlFlow<()> {
        let Some(text) = self.rows.get_mut(&row) else { return ControlFlow::Continue(()) };
        let piece = text.push(token);
        let piece = if self.settings.can_show_early() { piece } else { "" };
        let flow = self.reader.as_mut().map_or(ControlFlow::Continue(()), |reader| reader(piece));
        if text.is_stopped() { ControlFlow::Break(()) } else { flow }
    }

    fn accept(&mut self, row: usize, _: &Generated) -> bool {
        let Some(text) = self.rows.get_mut(&row) else { return true };
        let rest = text.finish().to_owned();
        let is_fine = self.settings.rules.allow(text.text());
        if let Some(reader) = &mut self.reader {
            if self.settings.can_show_early() {
                let _ = reader(&rest);
            } else if is_fine {
                let _ = reader(text.text());
            }
        }
        is_fine
    }
}
