//! Responses that say which model wrote them.
//!
//! Who learns from them says so, too. FastChat drops battles in which a list of names occurs anywhere
//! (`fastchat/serve/monitor/clean_battle_data.py`); here a response has to say of its writer that it is such a model,
//! so that an answer about Google or Claude Monet isn't lost.

use std::sync::LazyLock;

use regex::Regex;

/// Names that nothing but models have.
const MODELS: [&str; 24] = [
    r"chat ?gpt(?:[- ]?[0-9][\w.]*)?",
    r"gpt[- ]?(?:j|neo[\w]*|[0-9][\w.]*)",
    r"qwen[\w.]*",
    "tongyi qianwen",
    "vicuna",
    r"chatglm[\w]*",
    "deepseek",
    "baichuan",
    "internlm",
    "mixtral",
    "open ?assistant",
    "lamda",
    "ernie bot",
    "openchat",
    "wizardlm",
    "stablelm",
    "文心一言",
    "(?:通义)?千问",
    "讯飞星火",
    "智谱清言",
    "(?:腾讯)?混元",
    "豆包",
    "[盘百][古川]大模型",
    "kimi",
];
/// Names that others have, too.
const NAMES: &str =
    "claude|gemini|bard|llama|koala|alpaca|mistral|gemma|palm|grok|copilot|bing|dolly|falcon";
/// Who makes them.
const MAKERS: [&str; 25] = [
    "open ?ai",
    "anthropic",
    "google",
    "deepmind",
    "meta",
    "facebook",
    "microsoft",
    "alibaba",
    "aliyun",
    "baidu",
    "tencent",
    "bytedance",
    "moonshot",
    "zhipu",
    "mistral",
    "cohere",
    "lmsys",
    "large model systems organization",
    "(?:uc berkeley|stanford)",
    "laion",
    "hugging ?face",
    "(?:stability|x|eleuther)[ .]?ai",
    "databricks",
    r"01\.ai",
    "allen institute",
];
const MADE: &str = "(?:developed|created|trained|made|built|designed|produced|fine-?tuned|powered)";
const BY: &str = r"by (?:an? |the )?(?:(?:[\w]+ ){1,3}(?:at|from|of) )?(?:the )?";
const I_AM: &str = r"\b(?:i am|i['’]?m|my name is|(?:you can )?call me)";
const CHINESE_MADE: &str =
    "(?:开发|開發|训练|訓練|研发|研發|创建|創建|创造|創造|打造|推出|提供|构建|構建|研制|設計|设计)";
const CHINESE_MODEL: &str = "(?:[语語]言模型|大模型|(?:ai|人工智能|人工智慧)(?:模型|助手|[语語]言)?|聊天机器人|聊天機器人|[对對][话話]模型)";
/// What somebody who was made may be, besides.
const CHINESE_HELPER: &str = "(?:智能|[虚虛][拟擬])?(?:助手|助理|机器人|機器人)";
/// A Chinese "a", for whatever is counted.
const ONE: &str = "(?:一[个個款位名种種])?";

/// One expression for all that betrays a model.
static LEAK: LazyLock<Regex> = LazyLock::new(|| {
    let (models, makers) = (MODELS.join("|"), MAKERS.join("|"));
    let rules = [named(&models, &makers), made(&makers), chinese(&models)].concat();
    let rule = format!("(?i){}", rules.join("|"));
    // Without Unicode's words, about which the library's fast engines know nothing.
    let rule = rule.replace(r"\b", r"(?-u:\b)").replace(r"\w", "0-9a-z_");
    Regex::new(&rule).expect("the expression is a constant")
});

/// What somebody is, or is called.
fn named(models: &str, makers: &str) -> Vec<String> {
    let clause =
        r#"(?:^["“']?|[.!?:;,()*-] ?|\b(?:but|and|because|since|that|however|being|am|speaking) )"#;
    let ai = "(?:ai|artificial intelligence)";
    let kind = format!("(?:{ai}|assistant|model|chatbot)");
    // "I am Claude, …", but not "I am Claude Monet".
    let after_name = format!(
        r"(?:$|[.!,;:)]| (?:and i\b|{MADE} by\b|from (?:{makers})\b|an? (?:[\w-]+ ){{0,3}}{kind}\b))"
    );
    vec![
        // "As an AI language model, …" at the beginning of a clause.
        format!(r"{clause}as an? (?:[\w]+[ -])?{ai}(?: large)? language model\b"),
        format!(r"{clause}as an? {ai} model,? (?:i|my|it)\b"),
        format!(r"{clause}as (?:{models}|{NAMES}),? (?:i|my)\b"),
        format!(
            r"\bas an? (?:large |pre-?trained |neural )*language model,? (?:i\b|my\b|{MADE} by\b)"
        ),
        format!(r"{I_AM} (?:just |only |merely |simply )?an? (?:[\w-]+,? ){{0,3}}language model\b"),
        format!(r"{I_AM} (?:called |named )?(?:the |an? )?(?:{models})\b"),
        format!(r"{I_AM} (?:called |named )?(?:{NAMES})(?:[- ]?v?[0-9][\w.]*)?{after_name}"),
    ]
}

/// Who made somebody.
fn made(makers: &str) -> Vec<String> {
    let i_was = r"\b(?:i was|i have been|i['’]ve been|i am|i['’]m)";
    let kind = "(?:ai|model|assistant|chatbot|bot|llm|program|system)";
    let i_am_a = format!("{I_AM} (?:just |only )?(?:an?|the)");
    vec![
        format!(r"{i_was} (?:[\w]+ )?{MADE} {BY}(?:{makers})\b"),
        format!(r"{I_AM} (?:{makers})['’]s (?:[\w-]+ ){{0,4}}?{kind}\b"),
        format!(r"\bas an? (?:[\w-]+ ){{0,3}}?{kind},? {MADE} {BY}(?:{makers})\b,? (?:i|my|it)\b"),
        // "I am an AI assistant made by Anthropic".
        format!(
            "{i_am_a} (?:[\\w-]+,? ){{0,6}}?{kind}\\b[^.!?]{{0,60}}? (?:{MADE} {BY}|from )(?:{makers})\\b"
        ),
        format!(
            r"\bmy (?:creators?|developers?|makers?|trainers?) (?:at|is|are|,) ?(?:{makers})\b"
        ),
    ]
}

/// The same in Chinese; full-width signs are folded.
fn chinese(models: &str) -> Vec<String> {
    let kinds = "(?:大型|大規模|大规模|人工智能|ai|预训练|預訓練|的)*(?:[语語]言模型|大模型)";
    vec![
        // 我是由……开发的语言模型.
        format!(
            "我[是叫]{ONE}由?[^。!?]{{0,24}}?{CHINESE_MADE}的?[^。!?]{{0,16}}?(?:{CHINESE_MODEL}|{CHINESE_HELPER})"
        ),
        format!("我[是叫]{ONE}{kinds}"),
        format!("我(?:[是叫]|的名字[是叫]|名叫){ONE}(?:{models}|claude|gemini|llama|bard|moss)"),
        format!("(?:作为|作為|身为|身為){ONE}[^,。!?]{{0,12}}?{CHINESE_MODEL},? ?我"),
    ]
}

/// The words of a folded text by which a model betrays itself.
pub(super) fn leak(folded: &str) -> Option<&str> {
    LEAK.find(folded).map(|found| found.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cleaning::text::folded;

    #[test]
    fn models_that_name_themselves_are_found() {
        let leaks = [
            "As an AI language model developed by OpenAI, I cannot do that.",
            "I'm sorry, but as an AI language model I have no feelings.",
            "As a large language model trained by Anthropic, my answers may err.",
            "As a language model, I can't browse.",
            "Hello! I am ChatGPT, how can I help?",
            "My name is Claude.",
            "I’m Claude, an AI assistant made by Anthropic.",
            "I am Gemini, a large model from Google.",
            "I am Llama 3.1 and I can help.",
            "I'm Qwen2.5, created by Alibaba Cloud.",
            "i am vicuna, trained by researchers from lmsys.",
            "I am a large language model.",
            "\"As an AI language model, I can't.\"",
            "As an AI model, I have no body.",
            "As an AI developed by OpenAI, I can't vote.",
            "As Claude, I try to be helpful.",
            "I'm OpenAI's assistant.",
            "I was trained by a team at OpenAI.",
            "I am an AI assistant, and I was created by the Google team.",
            "I'm an AI chatbot built by Meta.",
            "My creators at OpenAI taught me.",
            "我是由OpenAI开发的大型语言模型。",
            "你好，我是百度公司训练的语言模型，很高兴见到你。",
            "我是一个大型语言模型。",
            "我叫通义千问，是阿里云的模型。",
            "您好！我是由中国的深度求索（DeepSeek）公司开发的智能助手。",
            "作为一个人工智能语言模型，我没有感情。",
            "作為一個語言模型，我無法上網。",
            "我是ＣｈａｔＧＰＴ。",
        ];
        for text in leaks {
            assert!(leak(&folded(text)).is_some(), "{text}");
        }
    }

    #[test]
    fn texts_about_models_makers_and_namesakes_are_kept() {
        let kept = [
            "ChatGPT is a chatbot by OpenAI. Claude was made by Anthropic.",
            "GPT-3 can be used as an AI language model for chats.",
            "BERT serves as a language model, which is trained on masked words.",
            "I am Claude Monet, and I paint water lilies.",
            "I'm a Gemini, born in June.",
            "I am wearing a shirt made by Google.",
            "My name is Claudette.",
            "I am an assistant manager at a hotel.",
            "I was created by my parents.",
            "I'm only an AI, so I can't eat.",
            "I'm Google's biggest fan.",
            "I have been provided by Microsoft with a laptop.",
            "ChatGPT often says “As an AI language model, …” before it refuses.",
            "Use it as an AI model in your app.",
            "As an AI model improves, it needs less data.",
            "As Gemini rises, look to the east.",
            "As an engineer trained by Google, I know.",
            "A llama is a camelid. I am llama-sitting today.",
            "I trained a language model by myself.",
            "我是一名老师，用语言模型备课。",
            "这个公司开发了一个语言模型。",
            "作为语言模型的代表，GPT很有名。",
            "我喜欢吃豆包。",
            "我是由代码生成器生成的。",
            "作为总经理的助理，我每天安排会议。",
            "",
        ];
        for text in kept {
            assert_eq!(leak(&folded(text)), None, "{text}");
        }
    }
}
