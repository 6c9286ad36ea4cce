//! The figures, against hand-computed cases and against scikit-learn.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use relayops_intent::IntentError;
use relayops_intent::eval::metrics::bootstrap::{Bootstrap, quantile};
use relayops_intent::eval::metrics::calibration::{bins, brier, confident_errors, ece, ece_debiased, nll};
use relayops_intent::eval::metrics::classification::Confusion;
use relayops_intent::eval::metrics::gate::GateCounts;
use relayops_intent::eval::metrics::intervals::{clopper_pearson, upper_bound};
use relayops_intent::eval::metrics::rates::{Method, Rates};
use relayops_intent::eval::metrics::selective::RiskCoverage;
use relayops_intent::eval::metrics::{Outcome, Point};
use relayops_intent::eval::sgr::{RiskTarget, guarantee_risk};
use relayops_intent::eval::temperature::{fit_temperature, negative_log_likelihood};
use relayops_intent::scoring::Scores;
use serde_json::Value;

#[track_caller]
fn assert_close(actual: f64, expected: f64, tolerance: f64) {
    assert!((actual - expected).abs() <= tolerance, "{actual} is not {expected}");
}

fn points(pairs: &[(f64, bool)]) -> Vec<Point> {
    pairs.iter().map(|(confidence, correct)| Point { confidence: *confidence, correct: *correct }).collect()
}

fn floats(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

fn fixture(name: &str) -> Value {
    let path = format!("{}/tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn confusion_by_hand() {
    // gold a: a a b; gold b: b; gold c: none, answered once for a b.
    let answered = [(0, 0), (0, 0), (0, 1), (1, 1), (1, 2)].map(|(gold, predicted)| (gold, Some(predicted)));
    let confusion = Confusion::new(4, answered);
    assert_eq!(confusion.counts()[0], [2, 1, 0, 0]);
    assert_close(confusion.accuracy(), 3.0 / 5.0, 1e-12);
    let scores = confusion.per_class();
    assert_close(scores[0].precision, 1.0, 1e-12);
    assert_close(scores[0].recall, 2.0 / 3.0, 1e-12);
    assert_close(scores[0].f1, 0.8, 1e-12);
    assert_close(scores[1].f1, 0.5, 1e-12);
    assert_eq!((scores[2].precision, scores[2].recall, scores[2].f1, scores[2].support), (0.0, 0.0, 0.0, 0));
    // Class 3 occurs nowhere and does not count.
    assert_close(confusion.macro_f1(), (0.8 + 0.5 + 0.0) / 3.0, 1e-12);
    assert_eq!(Confusion::new(2, []).macro_f1(), 0.0);
    // A message without an answer is in no column, and wrong all the same.
    let failed = Confusion::new(4, answered.into_iter().chain([(1, None), (1, None), (9, None)]));
    assert_eq!((failed.counts(), failed.total()), (confusion.counts(), 7));
    assert_close(failed.accuracy(), 3.0 / 7.0, 1e-12);
    let scores = failed.per_class()[1];
    assert_eq!((scores.support, scores.failed), (4, 2));
    assert_close(scores.recall, 1.0 / 4.0, 1e-12);
    assert_close(scores.f1, 2.0 / 6.0, 1e-12);
}

#[test]
fn calibration_by_hand() {
    let points = points(&[(0.1, false), (0.2, true), (0.7, true), (0.8, false), (1.0, true)]);
    let five = bins(&points, 5);
    // Edges belong to the bin below: 0.2 to the first, 0.8 to the fourth, 1.0 to the last.
    assert_eq!(five.iter().map(|bin| bin.n).collect::<Vec<_>>(), [2, 0, 0, 2, 1]);
    assert_close(five[0].confidence, 0.15, 1e-12);
    assert_close(five[0].accuracy, 0.5, 1e-12);
    // 2/5 * 0.35 + 2/5 * 0.25 + 1/5 * 0
    assert_close(ece(&five).unwrap(), 0.24, 1e-12);
    // Both full bins deviate by sqrt(1/2 * 1/2 / 2) = 0.35355. The mean of |X| for a normal X of that deviation is
    // 0.41005 about 0.35 and 0.34982 about 0.25; the third bin does not vary. 0.24 - 2/5 * (0.06005 + 0.09982):
    assert_close(ece_debiased(&five).unwrap(), 0.17605, 1e-5);
    assert_eq!(confident_errors(&points, 0.75), (1, 2));
    assert_eq!((ece(&bins(&[], 15)), ece_debiased(&bins(&[], 15))), (None, None));
    let p: [&[f64]; 2] = [&[0.5, 0.5, 0.0], &[0.0, 0.25, 0.75]];
    // (0.25 + 0.25) and (0.0625 + 0.0625)
    assert_close(brier([(0, p[0]), (2, p[1])]).unwrap(), (0.5 + 0.125) / 2.0, 1e-12);
    assert_close(nll([(0, p[0]), (2, p[1])]).unwrap(), (2f64.ln() - 0.75f64.ln()) / 2.0, 1e-12);
    // A probability of zero costs no more than the machine epsilon.
    assert_close(nll([(2, p[0])]).unwrap(), -f64::EPSILON.ln(), 1e-9);
    assert_eq!((brier([]), nll([])), (None, None));
}

#[test]
fn debiasing_removes_part_of_what_noise_alone_makes() {
    // Perfectly calibrated at 0.7: 4,000 sets of 60 predictions whose share of right answers is drawn with that chance.
    let mut random = fastrand::Rng::with_seed(7);
    let (mut plain, mut debiased) = (0.0, 0.0);
    for _ in 0..4_000 {
        let drawn: Vec<(f64, bool)> = (0..60).map(|_| (0.7, random.f64() < 0.7)).collect();
        let bins = bins(&points(&drawn), 15);
        plain += ece(&bins).unwrap() / 4_000.0;
        debiased += ece_debiased(&bins).unwrap() / 4_000.0;
    }
    // Summed over the 61 possible counts, each with its binomial chance; the tolerance is three standard errors.
    assert_close(plain, 0.046958, 0.0018);
    assert_close(debiased, 0.035943, 0.0019);
}

#[test]
fn selection_by_hand() {
    // Confidences fall; errors at ranks 2 and 4: E = 0, 0, 1, 1, 2.
    let curve = RiskCoverage::new(&points(&[(0.6, false), (0.9, true), (0.8, false), (0.7, true)]));
    let risks: Vec<f64> = curve.curve().into_iter().map(|(_, risk)| risk).collect();
    assert_eq!(risks, [0.0, 0.5, 1.0 / 3.0, 0.5]);
    assert_close(curve.aurc(), (0.5 + 1.0 / 3.0 + 0.5) / 4.0, 1e-12);
    // Trapezia of 0, 0, 1, 1, 2 over 16: (0 + 0.5 + 1 + 1.5) / 16.
    assert_close(curve.augrc(), 3.0 / 16.0, 1e-12);
    // The oracle errs at ranks 3 and 4: risks 0, 0, 1/3, 1/2; half the squared error rate.
    assert_close(curve.oracle().aurc(), (1.0 / 3.0 + 0.5) / 4.0, 1e-12);
    assert_close(curve.oracle().augrc(), 0.125, 1e-12);
    assert_eq!(curve.error_rate(), 0.5);
    // A constant confidence is the random reference itself, in any order.
    let constant = RiskCoverage::new(&points(&[(0.5, false), (0.5, true), (0.5, true), (0.5, true)]));
    assert_close(constant.aurc(), 0.25, 1e-12);
    assert_close(constant.augrc(), 0.125, 1e-12);
    let nothing = RiskCoverage::new(&[]);
    assert_eq!((nothing.aurc(), nothing.augrc(), nothing.error_rate()), (0.0, 0.0, 0.0));
}

#[test]
fn gate_by_hand() {
    let outcome =
        |gold, predicted, local| Outcome { gold, predicted: Some(predicted), probabilities: None, local };
    let outcomes = [
        outcome(0, 0, true),
        outcome(0, 0, false),
        outcome(1, 0, true),
        outcome(1, 1, false),
        outcome(0, 1, false),
        outcome(1, 0, false),
    ];
    let counts = GateCounts::new(&outcomes, &[false, true]);
    assert_eq!(counts.coverage(), Some(2.0 / 6.0));
    assert_eq!(counts.selective_accuracy(), Some(0.5));
    assert_eq!(counts.unsafe_local_rate(), Some(1.0 / 3.0));
    assert_eq!(counts.over_escalation(), Some(2.0 / 3.0));
    let nothing = GateCounts::new(&outcomes[..0], &[false, true]);
    assert_eq!(
        (nothing.coverage(), nothing.selective_accuracy(), nothing.unsafe_local_rate()),
        (None, None, None)
    );
}

fn outcomes(case: &Value) -> Vec<Outcome> {
    let gold = case["gold"].as_array().unwrap().iter().map(|v| usize::try_from(v.as_u64().unwrap()).unwrap());
    let outcome = |(gold, p): (usize, &Value)| {
        let p = floats(p);
        // The first of equals, as numpy's argmax.
        let predicted = (0..p.len()).rev().max_by(|a, b| p[*a].total_cmp(&p[*b])).unwrap();
        Outcome { gold, predicted: Some(predicted), probabilities: Some(p), local: false }
    };
    gold.zip(case["probabilities"].as_array().unwrap()).map(outcome).collect()
}

#[test]
fn scikit_learn_agrees() {
    let fixture = fixture("metrics_sklearn.json");
    let cases = fixture["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 3);
    for case in cases {
        let (outcomes, expected) = (outcomes(case), &case["expected"]);
        let close = |actual: f64, name: &str| {
            let expected = expected[name].as_f64().unwrap();
            assert!((actual - expected).abs() < 1e-9, "{name}: {actual}, expected {expected}");
        };
        let confusion = Confusion::new(6, outcomes.iter().map(|o| (o.gold, o.predicted)));
        assert_eq!(serde_json::to_value(confusion.counts()).unwrap(), expected["confusion"]);
        close(confusion.accuracy(), "accuracy");
        close(confusion.macro_f1(), "macro_f1");
        for (class, scores) in confusion.per_class().iter().enumerate() {
            assert_close(scores.precision, floats(&expected["precision"])[class], 1e-12);
            assert_close(scores.recall, floats(&expected["recall"])[class], 1e-12);
            assert_close(scores.f1, floats(&expected["f1"])[class], 1e-12);
            assert_eq!(scores.support as u64, expected["support"][class].as_u64().unwrap());
        }
        let pairs = || outcomes.iter().map(|o| (o.gold, o.probabilities.as_deref().unwrap()));
        close(brier(pairs()).unwrap(), "brier");
        close(nll(pairs()).unwrap(), "nll");
        let points: Vec<Point> = outcomes.iter().map(Outcome::point).collect();
        let bins = bins(&points, 15);
        close(ece(&bins).unwrap(), "ece");
        // The reference integrates numerically.
        assert_close(ece_debiased(&bins).unwrap(), expected["ece_debiased"].as_f64().unwrap(), 1e-5);
        close(RiskCoverage::new(&points).aurc(), "aurc");
        close(RiskCoverage::new(&points).augrc(), "augrc");
    }
}

#[test]
fn scipy_agrees_on_binomial_bounds() {
    let fixture = fixture("metrics_sklearn.json");
    for case in fixture["binomial"].as_array().unwrap() {
        let field = |name: &str| case[name].as_f64().unwrap();
        let [k, n] = ["k", "n"].map(|name| usize::try_from(case[name].as_u64().unwrap()).unwrap());
        let interval = clopper_pearson(k, n, 0.95);
        assert_close(interval.low, field("low"), 1e-9);
        assert_close(interval.high, field("high"), 1e-9);
        assert_close(upper_bound(k, n, 0.05), field("upper_one_sided"), 1e-9);
    }
    // The rule of three, exactly: nothing in n leaves 1 - alpha^(1/n).
    assert_close(upper_bound(0, 100, 0.05), 1.0 - 0.05f64.powf(0.01), 1e-12);
    assert_eq!(upper_bound(0, 0, 0.05), 1.0);
}

#[test]
fn rates_of_single_messages_are_exact() {
    let rates = Rates::new(None, Bootstrap::default());
    assert_eq!((rates.method(), rates.method().name()), (Method::ClopperPearson, "clopper-pearson"));
    let trials: Vec<Option<bool>> = (0..50).map(|i| (i % 2 == 0).then_some(i < 14)).collect();
    let bounds = rates.bounds(&trials).unwrap();
    assert_eq!(bounds.interval, clopper_pearson(7, 25, 0.95));
    assert_close(bounds.upper, upper_bound(7, 25, 0.05), 1e-12);
    assert_eq!(rates.bounds(&[None, None]), None);
}

#[test]
fn rates_of_groups_are_as_wide_as_groups_make_them() {
    // Forty groups of six that succeed or fail as one, twenty each: forty trials, not 240.
    let groups: Vec<Vec<usize>> = (0..40).map(|group| (6 * group..6 * group + 6).collect()).collect();
    let trials: Vec<Option<bool>> = (0..240).map(|i| Some(i / 6 % 2 == 0)).collect();
    let rates = Rates::new(Some(&groups), Bootstrap::default());
    assert_eq!(serde_json::to_value(rates.method()).unwrap(), "cluster-bootstrap over groups");
    let bounds = rates.bounds(&trials).unwrap();
    // Binomial(40, 1/2) / 40: 2.5% quantile 14/40, 97.5% quantile 26/40, 95% quantile 25/40.
    assert_close(bounds.interval.low, 0.35, 0.026);
    assert_close(bounds.interval.high, 0.65, 0.026);
    assert_close(bounds.upper, 0.625, 0.026);
    let single = clopper_pearson(120, 240, 0.95);
    assert!(single.high - single.low < 0.14, "{single:?} takes each message for a trial");
    // Trials that do not count leave their group out: 20 groups with one trial each.
    let one_each: Vec<Option<bool>> = (0..240).map(|i| (i % 12 == 0).then_some(true)).collect();
    // Every draw would be all right: one trial a group instead.
    assert_eq!(rates.bounds(&one_each).unwrap().interval, clopper_pearson(20, 20, 0.95));
    let never = rates.bounds(&[Some(false); 240]).unwrap();
    assert_close(never.upper, 1.0 - 0.05f64.powf(1.0 / 40.0), 1e-9);
    // One event of 240: percentiles of draws would end near 3/240, below what single messages allow.
    let mut rare = [Some(false); 240];
    rare[7] = Some(true);
    assert_close(rates.bounds(&rare).unwrap().upper, upper_bound(1, 240, 0.05), 1e-12);
    assert_eq!(rates.bounds(&[None; 240]), None);
}

#[test]
fn bounds_over_groups_hold_and_those_over_messages_do_not() {
    // A group's chance is 0.1 or 0.9; true rate 0.5.
    let groups: Vec<Vec<usize>> = (0..60).map(|group| (5 * group..5 * group + 5).collect()).collect();
    let mut random = fastrand::Rng::with_seed(11);
    let (mut grouped, mut single) = (0, 0);
    for seed in 0..200 {
        let mut trials = Vec::new();
        for _ in 0..60 {
            let chance = if random.bool() { 0.1 } else { 0.9 };
            trials.extend((0..5).map(|_| Some(random.f64() < chance)));
        }
        let bootstrap = Bootstrap { replicates: 500, seed, ..Bootstrap::default() };
        let holds = |rates: Rates| {
            let interval = rates.bounds(&trials).unwrap().interval;
            usize::from(interval.low <= 0.5 && 0.5 <= interval.high)
        };
        grouped += holds(Rates::new(Some(&groups), bootstrap));
        single += holds(Rates::new(None, bootstrap));
    }
    // 95% are meant to: of 200, fewer than 178 would be a one in a thousand event.
    assert!(grouped >= 178, "{grouped} of 200");
    assert!(single < 160, "{single} of 200: too narrow, as they are for such messages");
}

#[test]
fn bootstrap_intervals_repeat_and_know_groups() {
    let values = [1.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.0, 0.0, 1.0];
    let mean = |indices: &[usize]| [indices.iter().map(|i| values[*i]).sum::<f64>() / indices.len() as f64];
    let single: Vec<Vec<usize>> = (0..10).map(|i| vec![i]).collect();
    let bootstrap = Bootstrap::default();
    let [interval] = bootstrap.intervals(&single, mean);
    let interval = interval.unwrap();
    assert_eq!(bootstrap.intervals(&single, mean), [Some(interval)]);
    // Binomial(10, 0.7) / 10: 2.5% quantile 0.4; above 0.9 lie 2.8%, too near 2.5% for 2,000 draws to tell.
    assert_eq!(interval.low, 0.4);
    assert!([0.9, 1.0].contains(&interval.high), "{interval:?}");
    // Two groups that agree in themselves leave only three outcomes.
    let groups = vec![vec![0, 2, 3, 5, 6], vec![1, 4, 8]];
    let [grouped] = bootstrap.intervals(&groups, mean);
    assert_eq!(grouped.map(|i| (i.low, i.high)), Some((0.0, 1.0)));
    let [undefined] = bootstrap.intervals(&single, |_| [f64::NAN]);
    assert_eq!(undefined, None);
    assert_eq!((quantile(&[1.0, 2.0, 4.0], 0.75), quantile(&[], 0.5)), (Some(3.0), None));
}

fn scores(p: &[f64]) -> Scores {
    #[expect(clippy::cast_possible_truncation, reason = "scores are single precision")]
    let log_probabilities = p.iter().map(|p| p.ln() as f32).collect();
    Scores { log_probabilities, token_confidence: None }
}

#[test]
fn the_temperature_is_the_best_one() {
    // Says 0.9 and is right in 7 of 10: ln(0.7/0.3) = ln(0.9/0.1) / T.
    let sure = scores(&[0.9, 0.1]);
    let scored: Vec<(&Scores, usize)> = (0..10).map(|i| (&sure, usize::from(i >= 7))).collect();
    let temperature = f64::from(fit_temperature(&scored).unwrap());
    assert_close(temperature, 9f64.ln() / (7.0f64 / 3.0).ln(), 1e-4);
    let best = negative_log_likelihood(&scored, temperature);
    for other in [0.97, 1.03] {
        assert!(negative_log_likelihood(&scored, temperature * other) > best);
    }
    let right: Vec<(&Scores, usize)> = vec![(&sure, 0); 5];
    for undetermined in [&right[..], &[]] {
        let error = fit_temperature(undetermined).unwrap_err();
        assert!(error.to_string().contains("temperature"), "{error}");
    }
}

#[test]
fn a_guaranteed_threshold_holds_its_promise() {
    let target = RiskTarget { risk: 0.1, delta: 0.1 };
    // 300 right above 0.8, 100 of which half are wrong below.
    let mut data: Vec<(f64, bool)> = (0..300).map(|i| (0.8 + f64::from(i) / 2_000.0, true)).collect();
    data.extend((0..100).map(|i| (0.5 + f64::from(i) / 1_000.0, i % 2 == 0)));
    let found = guarantee_risk(&points(&data), target).unwrap();
    assert!(found.bound <= 0.1 && found.accepted >= 280 && found.threshold < 0.82, "{found:?}");
    // By the definition: the bound of what is accepted at delta / ceil(log2 400).
    let wrong = data.iter().filter(|(c, right)| *c >= found.threshold && !right).count();
    assert_close(found.bound, upper_bound(wrong, found.accepted, 0.1 / 9.0), 1e-12);
    // Ten right answers promise nothing.
    assert_eq!(guarantee_risk(&points(&data[..10]), target), None);
    assert_eq!(guarantee_risk(&[], target), None);
    for (risk, delta) in [(0.0, 0.1), (1.0, 0.1), (f64::NAN, 0.1), (0.1, 0.0)] {
        let error = RiskTarget { risk, delta }.check().unwrap_err();
        assert!(matches!(error, IntentError::InvalidArgument { .. }));
    }
}

/// The promise kept for no more than looking kept: the least threshold whose accepted messages, of those drawn, are wrong
/// in a share of at most `risk`.
fn unguarded(points: &[Point], risk: f64) -> Option<f64> {
    let mut sorted = points.to_vec();
    sorted.sort_by(|a, b| b.confidence.total_cmp(&a.confidence));
    let mut wrong = 0;
    let looks_right = |(index, point): (usize, &Point)| {
        wrong += usize::from(!point.correct);
        (wrong as f64 <= risk * (index + 1) as f64).then_some(point.confidence)
    };
    sorted.iter().enumerate().filter_map(looks_right).last()
}

#[test]
fn guaranteed_thresholds_fail_no_oftener_than_promised() {
    // Confidence c is right with probability c; risk of accepting above t is (1 - t) / 2, so 0.7 is the best threshold.
    let target = RiskTarget { risk: 0.15, delta: 0.1 };
    let risk = |threshold: f64| (1.0 - threshold) / 2.0;
    let mut random = fastrand::Rng::with_seed(3);
    let (mut broken, mut broken_unguarded, mut thresholds) = (0, 0, 0.0);
    for _ in 0..200 {
        let drawn: Vec<(f64, bool)> = (0..2_000)
            .map(|_| {
                let confidence = random.f64();
                (confidence, random.f64() < confidence)
            })
            .collect();
        let drawn = points(&drawn);
        let chosen = guarantee_risk(&drawn, target).unwrap();
        broken += usize::from(risk(chosen.threshold) > target.risk);
        broken_unguarded += usize::from(risk(unguarded(&drawn, target.risk).unwrap()) > target.risk);
        thresholds += chosen.threshold / 200.0;
    }
    assert!(broken <= 20, "{broken} of 200");
    // Neither by luck nor by keeping next to nothing.
    assert!(broken_unguarded > 80, "{broken_unguarded} of 200");
    assert!((0.7..0.8).contains(&thresholds), "{thresholds}");
}
