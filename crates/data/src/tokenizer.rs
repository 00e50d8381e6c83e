//! Tokenizers in the Hugging Face layout: `tokenizer.json` and `tokenizer_config.json`.

use std::fs;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use serde_json::{Value, json};
use tokenizers::decoders::byte_level::ByteLevel;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{AddedToken, NormalizerWrapper, TokenizerBuilder, TokenizerImpl};

use crate::model_folder::{self, read_optional};
use crate::template::ChatTemplate;
use crate::{DataError, bounds};

const PAD: &str = "<|pad|>";
const BOS: &str = "<|bos|>";
const EOS: &str = "<|eos|>";

const TOKENIZER: &str = "tokenizer.json";
const CONFIG: &str = "tokenizer_config.json";
const TEMPLATE: &str = "chat_template.jinja";

/// Larger vocabularies are refused.
const MAX_TOKENIZER_BYTES: u64 = 64 << 20;
/// Larger settings and templates are refused.
const MAX_CONFIG_BYTES: u64 = 1 << 20;

/// Turns text into tokens and back.
///
/// Text never smuggles in special tokens: `<|eos|>` inside a prompt is encoded as plain characters.
#[derive(Clone, Debug)]
pub struct Tokenizer {
    inner: Arc<tokenizers::Tokenizer>,
    /// Reads special tokens in text as such: for what templates write. Made when it is needed.
    trusting: Arc<OnceLock<tokenizers::Tokenizer>>,
    special: SpecialTokens,
    files: Arc<Files>,
}

/// What a model's folder says of its tokenizer; it is saved as it was read.
#[derive(Debug)]
struct Files {
    tokenizer: Vec<u8>,
    /// `tokenizer_config.json`, and what it says.
    config: Option<Vec<u8>>,
    settings: Value,
    /// `chat_template.jinja`
    template: Option<String>,
}

/// Ids of the special tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpecialTokens {
    /// Fills rows; it stands only where a mask hides it. Equal to `eos` in many tokenizers.
    pub pad: u32,
    /// Begins a sequence, where the tokenizer adds it.
    pub bos: Option<u32>,
    /// Ends a completion.
    pub eos: u32,
}

impl Tokenizer {
    /// Trains a byte-level BPE with `vocab_size` entries on `texts`: pad 0, bos 1, eos 2, the 256
    /// bytes, then merges. Any text can be encoded, whatever it was trained on.
    pub fn train_bpe<'a>(
        texts: impl IntoIterator<Item = &'a str>,
        vocab_size: usize,
    ) -> Result<Self, DataError> {
        if vocab_size < 259 {
            let reason = "the 256 bytes and 3 special tokens need at least 259 entries";
            return Err(DataError::Invalid(format!("vocab_size is {vocab_size}; {reason}")));
        }
        let mut trainer = BpeTrainer::builder()
            .vocab_size(vocab_size)
            .show_progress(false)
            .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
            .special_tokens([PAD, BOS, EOS].map(|text| AddedToken::from(text, true)).to_vec())
            .build();
        let texts: Vec<&str> = texts.into_iter().collect();
        let mut inner = untrained_bpe();
        inner.train(&mut trainer, texts.into_iter()).map_err(|error| {
            DataError::Invalid(format!("the tokenizer cannot be trained: {error}"))
        })?;
        let json = inner.to_string(true).map_err(|error| DataError::Invalid(error.to_string()))?;
        let settings = json!({
            "tokenizer_class": "PreTrainedTokenizerFast",
            "pad_token": PAD, "bos_token": BOS, "eos_token": EOS,
            "clean_up_tokenization_spaces": false,
        });
        let config = Some(format!("{settings:#}\n").into_bytes());
        let files = Files { tokenizer: json.into_bytes(), config, settings, template: None };
        Self::read(files, Path::new("the trained tokenizer"))
    }

    /// Loads the tokenizer of a model folder.
    pub fn load(folder: &Path) -> Result<Self, DataError> {
        let file = folder.join(TOKENIZER);
        let config = read_optional(folder, CONFIG, MAX_CONFIG_BYTES)?;
        let settings = match &config {
            Some(bytes) => serde_json::from_slice(bytes)
                .map_err(|error| DataError::file(folder.join(CONFIG), error.to_string()))?,
            None => Value::Null,
        };
        let template = read_optional(folder, TEMPLATE, MAX_CONFIG_BYTES)?;
        let template = template.map(String::from_utf8).transpose();
        let template =
            template.map_err(|error| DataError::file(folder.join(TEMPLATE), error.to_string()))?;
        let tokenizer = model_folder::read(folder, TOKENIZER, MAX_TOKENIZER_BYTES)?;
        bounds::check(&tokenizer).map_err(|reason| DataError::file(&file, reason))?;
        let files = Files { tokenizer, config, settings, template };
        Self::read(files, &file)
    }

    /// Writes the tokenizer's files into `folder` as they were read. A chat template that stood in one
    /// place only comes to stand in both: `tokenizer_config.json`, where older tools look for it, and
    /// `chat_template.jinja`.
    pub fn save(&self, folder: &Path) -> Result<(), DataError> {
        let write = |name: &str, content: &[u8]| {
            let path = folder.join(name);
            fs::write(&path, content).map_err(DataError::io(&path))
        };
        let Files { tokenizer, config, settings, template } = &*self.files;
        write(TOKENIZER, tokenizer)?;
        match (template, &settings["chat_template"]) {
            (Some(template), Value::Null) => {
                let mut settings = if settings.is_null() { json!({}) } else { settings.clone() };
                settings["chat_template"] = template.as_str().into();
                write(CONFIG, format!("{settings:#}\n").as_bytes())?;
            }
            _ => config.as_ref().map_or(Ok(()), |config| write(CONFIG, config))?,
        }
        let in_config = settings["chat_template"].as_str();
        let template = template.as_deref().or(in_config);
        template.map_or(Ok(()), |template| write(TEMPLATE, template.as_bytes()))
    }

    /// The chat template that came with the tokenizer, if one did.
    ///
    /// # Errors
    /// A template that can't be run within limits.
    pub fn chat_template(&self) -> Result<Option<ChatTemplate>, DataError> {
        let Files { settings, template, .. } = &*self.files;
        let stored = match &settings["chat_template"] {
            // Several templates by name.
            Value::Array(named) => {
                let default = named.iter().find(|it| it["name"] == "default");
                default.and_then(|it| it["template"].as_str())
            }
            one => one.as_str(),
        };
        template.as_deref().or(stored).map(|source| self.template(source)).transpose()
    }

    /// The tokenizer with this chat template, which is saved with it in place of its own.
    #[must_use]
    pub fn with_chat_template(&self, source: &str) -> Self {
        let Files { tokenizer, config, settings, .. } = &*self.files;
        let mut settings = settings.clone();
        if let Some(settings) = settings.as_object_mut() {
            settings.remove("chat_template");
        }
        let (tokenizer, config) = (tokenizer.clone(), config.clone());
        let files = Files { tokenizer, config, settings, template: Some(source.to_owned()) };
        Self { files: files.into(), ..self.clone() }
    }

    /// A chat template that speaks with this tokenizer's special tokens.
    ///
    /// # Errors
    /// A template that can't be run within limits.
    pub fn template(&self, source: &str) -> Result<ChatTemplate, DataError> {
        let token = |key| config_token(&self.files.settings, key).unwrap_or_default();
        ChatTemplate::new(source, token("bos_token"), token("eos_token"))
    }

    /// The texts of special tokens.
    pub fn special_texts(&self) -> Vec<String> {
        let added = self.inner.get_added_tokens_decoder();
        added.into_values().filter(|it| it.special).map(|it| it.content).collect()
    }

    /// The id of a special token's text.
    pub(crate) fn special_id(&self, text: &str) -> Option<u32> {
        self.inner.token_to_id(text)
    }

    /// A token as the vocabulary writes it.
    pub fn token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// The tokens of text that goes on, each with the bytes that it stands for.
    pub(crate) fn encode_with_spans(&self, text: &str) -> Vec<(u32, Range<usize>)> {
        spans(&self.inner, text)
    }

    /// The same for text in which special tokens are meant as such.
    pub(crate) fn encode_trusted(&self, text: &str) -> Vec<(u32, Range<usize>)> {
        let trusting = self.trusting.get_or_init(|| {
            let mut trusting = (*self.inner).clone();
            trusting.set_encode_special_tokens(false);
            trusting
        });
        spans(trusting, text)
    }

    /// The tokens that begin a sequence with this prompt, `bos` included where the tokenizer has one.
    pub fn encode_prompt(&self, text: &str) -> Vec<u32> {
        self.encode_with(text, true)
    }

    /// The tokens of text that goes on; no special token is added.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        self.encode_with(text, false)
    }

    /// The tokens of a whole completion: its text, then the end of sequence.
    pub fn encode_completion(&self, text: &str) -> Vec<u32> {
        let mut tokens = self.encode(text);
        tokens.push(self.special.eos);
        tokens
    }

    /// The text of tokens; special tokens are left out.
    pub fn decode(&self, tokens: &[u32]) -> String {
        self.inner.decode(tokens, true).unwrap_or_default()
    }

    /// Ids of the special tokens.
    pub fn special(&self) -> SpecialTokens {
        self.special
    }

    /// One more than the largest id.
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab(true).values().max().map_or(0, |largest| *largest as usize + 1)
    }

    fn encode_with(&self, text: &str, add_special_tokens: bool) -> Vec<u32> {
        let encoding = self.inner.encode_fast(text, add_special_tokens);
        encoding.expect("a loaded tokenizer encodes any text").get_ids().to_vec()
    }

    fn read(files: Files, path: &Path) -> Result<Self, DataError> {
        let refuse = |reason: String| DataError::file(path, reason);
        let mut inner = tokenizers::Tokenizer::from_bytes(&files.tokenizer)
            .map_err(|error| refuse(format!("not a tokenizer that can be read: {error}")))?;
        // Truncation and padding are the caller's business; a file that sets them would hide text.
        inner.with_truncation(None).map_err(|error| refuse(error.to_string()))?;
        inner.with_padding(None);
        inner.set_encode_special_tokens(true);
        let id = |key| config_token(&files.settings, key).and_then(|it| inner.token_to_id(it));
        let eos =
            id("eos_token").or_else(|| inner.token_to_id("<|endoftext|>")).ok_or_else(|| {
                refuse("no end of sequence; name it as `eos_token` in tokenizer_config.json".into())
            })?;
        let special =
            SpecialTokens { pad: id("pad_token").unwrap_or(eos), bos: id("bos_token"), eos };
        inner.encode_fast("probe", true).map_err(|error| refuse(error.to_string()))?;
        let (inner, files) = (Arc::new(inner), Arc::new(files));
        Ok(Self { inner, trusting: Arc::default(), special, files })
    }
}

fn spans(tokenizer: &tokenizers::Tokenizer, text: &str) -> Vec<(u32, Range<usize>)> {
    let encoding = tokenizer.encode(text, false).expect("a loaded tokenizer encodes any text");
    let spans = encoding.get_offsets().iter().map(|(start, end)| *start..*end);
    encoding.get_ids().iter().copied().zip(spans).collect()
}

fn untrained_bpe() -> TokenizerImpl<BPE, NormalizerWrapper, ByteLevel, TemplateProcessing, ByteLevel>
{
    let begin = TemplateProcessing::builder()
        .try_single(vec![BOS, "$0"])
        .expect("a constant template")
        .special_tokens(vec![(BOS, 1)])
        .build()
        .expect("a constant template");
    TokenizerBuilder::default()
        .with_model(BPE::default())
        .with_normalizer(None)
        .with_pre_tokenizer(Some(ByteLevel::new(false, true, true)))
        .with_post_processor(Some(begin))
        .with_decoder(Some(ByteLevel::default()))
        .build()
        .expect("all parts are given")
}

/// A special token's text: newer files hold it as a string, older ones as an object.
fn config_token<'a>(config: &'a Value, key: &str) -> Option<&'a str> {
    let token = config.get(key)?;
    token.as_str().or_else(|| token.get("content")?.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trained() -> Tokenizer {
        Tokenizer::train_bpe(["the cat sat on the mat", "the dog sat on the cat"], 280)
            .expect("trains")
    }

    #[test]
    fn any_text_survives_encoding_and_decoding() {
        let tokenizer = trained();
        for text in ["the cat", "", " Ünïcode 猫 \u{0}", "a\n\tb"] {
            assert_eq!(tokenizer.decode(&tokenizer.encode(text)), text);
        }
    }

    #[test]
    fn special_tokens_inside_text_stay_text() {
        let tokenizer = trained();
        assert!(!tokenizer.encode("<|eos|>").contains(&tokenizer.special().eos));
        assert_eq!(tokenizer.decode(&tokenizer.encode("a<|eos|>b")), "a<|eos|>b");
    }

    #[test]
    fn prompts_begin_and_completions_end() {
        let tokenizer = trained();
        assert_eq!(tokenizer.special(), SpecialTokens { pad: 0, bos: Some(1), eos: 2 });
        assert_eq!(tokenizer.encode_prompt("")[..], [1]);
        assert_eq!(tokenizer.encode_completion("")[..], [2]);
    }

    #[test]
    fn training_twice_gives_the_same_tokenizer() {
        let json = |tokenizer: Tokenizer| tokenizer.inner.to_string(false).expect("serialises");
        assert_eq!(json(trained()), json(trained()));
    }

    #[test]
    fn saving_and_loading_changes_nothing() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        trained().save(folder.path()).expect("saves");
        let loaded = Tokenizer::load(folder.path()).expect("loads");
        assert_eq!(
            loaded.encode_prompt("the cat <|eos|>"),
            trained().encode_prompt("the cat <|eos|>")
        );
        assert_eq!(loaded.special(), trained().special());
    }

    #[test]
    fn a_damaged_file_is_named() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::write(folder.path().join("tokenizer.json"), "{\"model\": 3}").expect("writes");
        let error = Tokenizer::load(folder.path()).expect_err("is refused").to_string();
        assert!(error.contains("tokenizer.json"), "{error}");
    }
}
