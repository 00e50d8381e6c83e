//! Responses that say which model wrote them.
//!
//! Who learns from them says so, too. FastChat drops battles in which a list of names occurs anywhere
//! (`fastchat/serve/monitor/clean_battle_data.py`); here a response has to say of its writer that it is such a model,
//! so that an answer about Google or Claude Monet isn't lost.

use std::sync::LazyLock;

use regex::Regex;

/// Names that nothing but models have.
const MODELS: &str = r"chat ?gpt(?:[- ]?\d[\w.]*)?|gpt[- ]?(?:j|neo\w*|\d[\w.]*)|qwen[\w.]*|tongyi qianwen|vicuna|chatglm\w*|deepseek|baichuan|internlm|mixtral|open ?assistant|lamda|ernie bot|openchat|wizardlm|stablelm|starchat|文心一言|通义千问|讯飞星火|智谱清言|千问|[腾騰]讯混元|混元|豆包|盘古大模型|百川大模型|kimi";
/// Names that others have, too.
const NAMES: &str = r"claude|gemini|bard|llama|koala|alpaca|mistral|gemma|palm|grok|copilot|bing|dolly|falcon|sydney|phi|pi";
/// Who makes them.
const MAKERS: &str = r"openai|open ai|anthropic|google|deepmind|meta|facebook|microsoft|alibaba|aliyun|baidu|tencent|bytedance|moonshot|zhipu|mistral|cohere|lmsys|large model systems organization|uc berkeley|stanford|laion|hugging ?face|stability ai|databricks|nvidia|amazon|apple|xai|x\.ai|deepseek|01\.ai|ai2|allen institute|eleuther ?ai|researchers";
const MADE: &str = r"(?:developed|created|trained|made|built|designed|produced|fine-?tuned|provided|powered|offered)";
const BY: &str = r"by (?:an? |the )?(?:(?:\w+ ){1,3}(?:at|from|of) )?(?:the )?";
const CHINESE_MADE: &str = r"(?:开发|開發|训练|訓練|研发|研發|创建|創建|创造|創造|打造|推出|提供|构建|構建|研制|設計|设计)";
const CHINESE_MODEL: &str = r"(?:[语語]言模型|大模型|(?:ai|人工智能|人工智慧)(?:模型|助手|[语語]言)?|聊天机器人|聊天機器人|[对對][话話]模型)";
const I_AM: &str = r"\b(?:i am|i['’]?m|my name is|(?:you can )?call me)";

/// One expression for all that betrays a model.
static LEAK: LazyLock<Regex> = LazyLock::new(|| {
    let rules = [
        // "As an AI language model, …" at the beginning of a clause.
        r"(?:^|[.!?:;,“”()*-] ?|\b(?:but|and|because|since|that|however|being|am|speaking) )as an? (?:\w+[ -])?(?:ai|artificial intelligence)(?: large)? language model\b".into(),
        format!(r"\bas an? (?:large |pre-?trained |neural )*language model,? (?:i\b|my\b|{MADE} by\b)"),
        // "I am a large language model".
        format!(r"{I_AM} (?:just |only |merely |simply )?an? (?:[\w-]+,? ){{0,3}}language model\b"),
        // "I am ChatGPT".
        format!(r"{I_AM} (?:called |named )?(?:the |an? )?(?:{MODELS})\b"),
        // "I am Claude, …", but not "I am Claude Monet".
        format!(r"{I_AM} (?:called |named )?(?:{NAMES})(?:[- ]?v?\d[\w.]*)?(?:$|[.!,;:)]|\ (?:and i\b|{MADE} by\b|from (?:{MAKERS})\b|an? (?:[\w-]+ ){{0,3}}(?:ai|assistant|model|chatbot)\b))"),
        // "I was trained by OpenAI".
        format!(r"\b(?:i was|i have been|i['’]ve been|i am|i['’]m) (?:\w+ )?{MADE} {BY}(?:{MAKERS})\b"),
        // "I am an AI assistant made by Anthropic".
        format!(r"{I_AM} (?:just |only )?(?:an?|the) (?:[\w-]+,? ){{0,6}}?(?:ai|model|assistant|chatbot|bot|llm|program|system)\b[^.!?]{{0,60}}? (?:{MADE} {BY}|from )(?:{MAKERS})\b"),
        format!(r"\bmy (?:creators?|developers?|makers?|trainers?|programmers?) (?:at|is|are|,) ?(?:{MAKERS})\b"),
        // 我是由……开发的语言模型; full stops and commas are folded.
        format!(r"我(?:是|叫)(?:一[个個款位名种種])?由?[^。!?]{{0,24}}?{CHINESE_MADE}的?[^。!?]{{0,16}}?{CHINESE_MODEL}"),
        format!(r"我[是叫](?:一[个個款位名种種])?(?:大型|大規模|大规模|人工智能|ai|预训练|預訓練|的)*(?:[语語]言模型|大模型)"),
        format!(r"我(?:是|叫|的名字是|的名字叫|名叫)(?:一[个個款位名])?(?:{MODELS}|claude|gemini|llama|bard|moss)"),
        format!(r"(?:作为|作為|身为|身為)(?:一[个個款位名种種])?[^,。!?]{{0,12}}?{CHINESE_MODEL},? ?我"),
    ];
    let rule = format!("(?i){}", rules.map(|rule| format!("(?:{rule})")).join("|"));
    Regex::new(&rule).expect("the expression is a constant")
});

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
            "I was trained by a team at OpenAI.",
            "I am an AI assistant, and I was created by the Google team.",
            "I'm an AI chatbot built by Meta.",
            "My creators at OpenAI taught me.",
            "我是由OpenAI开发的大型语言模型。",
            "你好，我是百度公司训练的语言模型，很高兴见到你。",
            "我是一个大型语言模型。",
            "我叫通义千问，是阿里云的模型。",
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
            "A llama is a camelid. I am llama-sitting today.",
            "I trained a language model by myself.",
            "我是一名老师，用语言模型备课。",
            "这个公司开发了一个语言模型。",
            "作为语言模型的代表，GPT很有名。",
            "我喜欢吃豆包。",
            "",
        ];
        for text in kept {
            assert_eq!(leak(&folded(text)), None, "{text}");
        }
    }

    #[test]
    fn looking_takes_linear_time() {
        // A backtracking engine would never end.
        let text = folded(&"i am an a, ".repeat(100_000));
        assert_eq!(leak(&text), None);
    }
}
