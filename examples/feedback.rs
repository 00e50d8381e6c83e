//! Embeds `rein-feedback`: stores pairs, takes a judgement and gives rows to train on.

#![allow(clippy::print_stdout, reason = "this is where the program talks")]

use rein_feedback::{
    Annotation, Choice, FeedbackError, Judgement, NewPair, Response, Split, Store, majority,
    preferences,
};

fn main() -> Result<(), FeedbackError> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut store = Store::open(&folder.path().join("feedback.sqlite"))?;
    let response = |text: &str| Response { text: text.into(), finished: true };
    let pair = NewPair {
        external_id: "greeting-1".into(),
        prompt: "Say hello.".into(),
        split: Split::Train,
        responses: [response("Hello!"), response("What do you want?")],
        source: "model-a".into(),
        overlap: 1,
    };
    store.add_pairs("greetings", &[pair])?;
    store.add_annotator("ada", "person")?;
    for task in store.tasks("greetings", Split::Train)? {
        // Your own front end asks a person; what it is told ends here.
        store.annotate(&[Annotation {
            task: task.id,
            annotator: "ada".into(),
            judgement: Judgement::Preferred { choice: Choice::First },
            shown_first: Choice::Second,
            idem_key: format!("ada/{}", task.external_id),
        }])?;
    }
    for row in majority(&preferences(&store, "greetings", Split::Train)?) {
        println!("{:?}: {:?} is better than {:?}", row.prompt, row.chosen, row.rejected);
    }
    Ok(())
}
