use rein_data::example::Completion;
use serde::{Deserialize, Serialize};
use whatlang::{Detector, Lang};

use super::{Fault, Refusal, Rule};
use crate::Verdict;

/// The languages that completions may be in.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LanguageConfig {
    /// The right ones: `en`, `de`, … or `eng`, `deu`, … (ISO 639).
    pub languages: Vec<String>,
    /// Those that a text is taken to be in, if not any that is known: short texts are told apart better
    /// among few.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub among: Vec<String>,
    /// How sure the guess must be, from 0 to 1; what is less sure is wrong.
    pub min_confidence: f64,
}

/// 1 for a text in one of some languages, 0 for any other. The language is guessed by whatlang, from a
/// text's letters and trigrams: the longer the text, the surer the guess.
#[derive(Clone, Debug)]
pub struct Language {
    right: Vec<Lang>,
    detector: Detector,
    min_confidence: f64,
}

/// ISO 639-1 and 639-3.
const CODES: &str = "ar ara be bel bg bul bn ben ca cat cs ces da dan de deu el ell en eng eo epo es spa \
                     et est fa pes fi fin fr fra gu guj he heb hi hin hr hrv hu hun id ind it ita ja jpn \
                     ka kat kn kan ko kor la lat lt lit lv lav ml mal mr mar nl nld no nob pl pol pt por \
                     ro ron ru rus sk slk sl slv sr srp sv swe ta tam te tel th tha tr tur uk ukr ur urd \
                     vi vie zh cmn";

impl LanguageConfig {
    /// The rule.
    ///
    /// # Errors
    /// No language, or one that isn't known.
    pub fn build(&self) -> Result<Language, Refusal> {
        let right = languages("languages", &self.languages)?;
        let among = languages("among", &self.among)?;
        if right.is_empty() {
            return Err(Refusal::new("languages", "is missing, as in [\"en\"]"));
        }
        if !(0.0..=1.0).contains(&self.min_confidence) {
            return Err(Refusal::new("min_confidence", "must be within 0..=1"));
        }
        if !among.is_empty() && right.iter().any(|it| !among.contains(it)) {
            return Err(Refusal::new("among", "must hold all of `languages`"));
        }
        let detector =
            if among.is_empty() { Detector::new() } else { Detector::with_allowlist(among) };
        Ok(Language { right, detector, min_confidence: self.min_confidence })
    }
}

fn languages(key: &'static str, codes: &[String]) -> Result<Vec<Lang>, Refusal> {
    let find = |code: &String| {
        let known: Vec<&str> = CODES.split_whitespace().collect();
        let long = known.chunks(2).find(|it| it[0] == code).map_or(code.as_str(), |it| it[1]);
        let reason =
            || format!("holds {code:?}, which isn't known; use ISO 639 codes, as in \"en\"");
        Lang::from_code(long).ok_or_else(|| Refusal::new(key, reason()))
    };
    codes.iter().map(find).collect()
}

impl Rule for Language {
    fn judge(&self, completion: &Completion) -> Result<Verdict, Fault> {
        let Some(guess) = self.detector.detect(&completion.text) else {
            return Ok(Verdict::of(false, "no language can be told"));
        };
        let (language, confidence) = (guess.lang(), guess.confidence());
        let reason = format!("{} ({:.0} %)", language.eng_name(), 100.0 * confidence);
        Ok(Verdict::of(self.right.contains(&language) && confidence >= self.min_confidence, reason))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(config: &LanguageConfig, text: &str) -> Verdict {
        let completion = Completion { text: text.into(), ..Completion::default() };
        config.build().expect("is a rule").judge(&completion).expect("judges")
    }

    #[test]
    fn languages_are_told_apart() {
        let english = LanguageConfig { languages: vec!["en".into()], ..LanguageConfig::default() };
        let (de, en) = (
            "Bitte starten Sie das Gerät neu und versuchen Sie es danach noch einmal.",
            "Please restart the device and then try it once more.",
        );
        assert_eq!(judge(&english, en).score, 1.0);
        let wrong = judge(&english, de);
        assert!(wrong.score == 0.0 && wrong.reason.starts_with("German ("), "{wrong:?}");
        assert_eq!(&*judge(&english, "123 …").reason, "no language can be told");
        let sure = LanguageConfig { min_confidence: 1.0, ..english.clone() };
        assert_eq!(judge(&sure, "Hello there").score, 0.0, "too short to be sure");
        let few = LanguageConfig { among: vec!["eng".into(), "deu".into()], ..english };
        assert_eq!(judge(&few, de).score, 0.0);
    }

    #[test]
    fn all_codes_are_known() {
        let codes: Vec<String> = CODES.split_whitespace().map(str::to_owned).collect();
        assert_eq!(languages("languages", &codes).expect("are known").len(), codes.len());
        let unknown = languages("among", &["xx".into()]).expect_err("is refused").to_string();
        assert_eq!(
            unknown,
            "`among` holds \"xx\", which isn't known; use ISO 639 codes, as in \"en\""
        );
        assert!(LanguageConfig::default().build().is_err());
    }
}
