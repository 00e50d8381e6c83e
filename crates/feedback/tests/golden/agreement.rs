//! Krippendorff's alpha, kappas and percent.

use rein_feedback::agreement::{Level, Weights, cohen, fleiss, krippendorff, percent};
use serde_json::Value;

use super::{assert_close, fixture, index, list, number, numbers};

#[test]
fn krippendorff_s_example() {
    let file = fixture("agreement.json");
    let (case, tolerance) = (&file["krippendorff"], number(&file["tolerance"]));
    let observers = list(&case["data"]);
    let unit = |at: usize| observers.iter().filter_map(|row| row[at].as_f64()).collect();
    let units: Vec<Vec<f64>> = (0..list(&observers[0]).len()).map(unit).collect();
    let levels = [
        ("nominal", Level::Nominal),
        ("ordinal", Level::Ordinal),
        ("interval", Level::Interval),
        ("ratio", Level::Ratio),
    ];
    for (name, level) in levels {
        let alpha = krippendorff(&units, level).expect("values differ");
        assert_close(name, &[alpha], &case["alpha"][name], tolerance);
        assert_close(name, &[alpha], &case["published"][name], 5e-4);
    }
}

#[test]
fn two_people_s_grades() {
    let file = fixture("agreement.json");
    let (case, tolerance) = (&file["cohen"], number(&file["tolerance"]));
    let [a, b] = ["a", "b"].map(|key| numbers(&case[key]).into_iter().map(|it| it as i64));
    let grades: Vec<(i64, i64)> = a.zip(b).collect();
    let weights =
        [("None", Weights::None), ("linear", Weights::Linear), ("quadratic", Weights::Quadratic)];
    for (name, weights) in weights {
        let kappa = cohen(&grades, weights).expect("grades differ");
        assert_close(name, &[kappa], &case["kappa"][name], tolerance);
    }
    let units: Vec<Vec<i64>> = grades.iter().map(|(a, b)| vec![*a, *b]).collect();
    let share = percent(&units).expect("two grades each");
    assert_close("percent", &[share], &file["percent_agreement"], tolerance);
}

#[test]
fn fleiss_s_example() {
    let file = fixture("agreement.json");
    let (case, tolerance) = (&file["fleiss"], number(&file["tolerance"]));
    let row = |row: &Value| list(row).iter().map(|it| index(it) as u64).collect();
    let counts: Vec<Vec<u64>> = list(&case["counts"]).iter().map(row).collect();
    let kappa = fleiss(&counts).expect("14 people each").expect("classes differ");
    assert_close("kappa", &[kappa], &case["kappa"], tolerance);
    assert_close("published", &[kappa], &case["published"], 5e-4);
}
