//! Win rates and ratings.

use rein_feedback::elo::Elo;
use rein_feedback::win_rate::WinRate;

use super::{assert_close, fixture, index, list, number};

#[test]
fn intervals_of_win_rates() {
    let file = fixture("winrate_elo.json");
    for (name, want) in file["intervals"].as_object().expect("intervals by wins") {
        let (wins, games) = name.split_once('/').expect("wins of games");
        let [wins, games]: [u64; 2] = [wins, games].map(|it| it.parse().expect("a count"));
        let rate = WinRate { wins, ties: 0, losses: games - wins };
        assert_close(name, &rate.wilson(0.95), &want["wilson"], 1e-9);
        assert_close(name, &rate.clopper_pearson(0.95), &want["clopper_pearson"], 1e-9);
        assert_close(name, &[rate.p_two_sided()], &want["p_two_sided"], 1e-9);
    }
}

#[test]
fn ratings_after_each_game() {
    let file = fixture("winrate_elo.json");
    let case = &file["elo"];
    let [k, scale, base, initial] = ["k", "scale", "base", "init"].map(|key| number(&case[key]));
    let elo = Elo { k, scale, base, initial };
    assert_eq!(elo, Elo::default());
    let mut ratings = [elo.initial; 3];
    for (game, want) in list(&case["games"]).iter().zip(list(&case["ratings_after_each"])) {
        let [first, second] = [0, 1].map(|at| index(&game[at]));
        let (mut one, mut other) = (ratings[first], ratings[second]);
        elo.play(&mut one, &mut other, number(&game[2]));
        (ratings[first], ratings[second]) = (one, other);
        assert_close("ratings", &ratings, want, 1e-9);
    }
}
