//! Embeds `rein-feedback`: stores pairs, takes a judgement and gives rows to train on.

#![allow(clippy::print_stdout, reason = "this is where the program talks")]

use rein_feedback::{
    Annotation, Choice, FeedbackError, Judgement, NewTask, Response, Role, Shown, Split, Store,
    majority, preferences,
};

fn main() -> Result<(), FeedbackError> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut store = Store::open(&folder.path().join("feedback.sqlite"))?;
    let response =
        |text: &str| Response { text: text.into(), finished: true, source: "model-a".into() };
    let pair = NewTask {
        external_id: "greeting-1".into(),
        prompt: "Say hello.".into(),
        split: Split::Train,
        responses: vec![response("Hello!"), response("What do you want?")],
        overlap: 1,
        priority: 0.0,
        gold: None,
    };
    store.add_tasks("greetings", &[pair])?;
    store.add_annotator("ada", Role::Person)?;
    for task in store.tasks("greetings", Split::Train)? {
        // Your own front end asks a person; what it is told ends here.
        store.annotate(&[Annotation {
            task: task.id,
            annotator: "ada".into(),
            answer: Judgement::preferred(Choice::First).into(),
            shown: Shown::first(Choice::Second),
            idem_key: format!("ada/{}", task.external_id),
            active_ms: None,
        }])?;
    }
    for row in majority(&preferences(&store, "greetings", Split::Train)?) {
        println!("{:?}: {:?} is better than {:?}", row.prompt, row.chosen, row.rejected);
    }
    Ok(())
}
