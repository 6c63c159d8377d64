#![expect(clippy::unwrap_used, reason = "a test may panic")]
use super::*;
use crate::alert::Name;
use proptest::prelude::*;
use std::collections::BTreeMap;

const RESEND: u64 = 60;

fn moment(second: u64) -> Moment {
    Moment { at: Nanos::from_secs(1_000 + second), unix_ns: (1_795_212_000 + second) * 1_000_000_000 }
}

fn labels(n: u8) -> Labels {
    Labels::new(Name::TargetDown, &BTreeMap::new(), [("group", "g"), ("target", &*n.to_string())])
}

fn said(word: u8) -> Annotations {
    Annotations::default().with("summary", word.to_string())
}

/// Whose, since when and until when, of what is due.
fn due(keeper: &mut Keeper, second: u64) -> Vec<(String, u64, Option<u64>)> {
    let of = |ns: u64| ns / 1_000_000_000 - 1_795_212_000;
    let due = keeper.due(moment(second).at).into_iter();
    due.map(|alert| (alert.labels.get("target").to_owned(), of(alert.starts_unix_ns), alert.ends_unix_ns.map(of)))
        .collect()
}

#[test]
fn what_fires_is_sent_at_once_and_again_and_its_end_for_a_quarter_of_an_hour() {
    let mut keeper = Keeper::new(Nanos::from_secs(RESEND));
    let one = || "1".to_owned();
    keeper.fire(&labels(1), said(0), moment(0));
    assert_eq!(due(&mut keeper, 0), [(one(), 0, None)]);
    keeper.fire(&labels(1), said(0), moment(30));
    assert_eq!(due(&mut keeper, 59), []);
    assert_eq!(due(&mut keeper, 60), [(one(), 0, None)]);
    keeper.resolve(&labels(1), moment(70));
    keeper.resolve(&labels(1), moment(75));
    assert_eq!(due(&mut keeper, 80), [(one(), 0, Some(70))]);
    let told = (81..2_000).flat_map(|second| due(&mut keeper, second)).collect::<Vec<_>>();
    assert_eq!(told, vec![(one(), 0, Some(70)); 14], "until it ended 15 minutes ago");
    assert!(keeper.alerts.is_empty() && keeper.ended == 0);
    keeper.fire(&labels(1), said(0), moment(3_000));
    assert_eq!(due(&mut keeper, 3_000), [(one(), 3_000, None)], "it is a new one");
}

#[test]
fn what_is_said_anew_is_sent_at_once_where_it_is_news() {
    let mut keeper = Keeper::new(Nanos::from_secs(RESEND));
    keeper.fire(&labels(1), said(0), moment(0));
    due(&mut keeper, 0);
    keeper.fire(&labels(1), said(1), moment(5));
    assert_eq!(keeper.due(moment(5).at)[0].annotations, said(1));
    keeper.reword(&labels(1), said(2));
    assert_eq!(due(&mut keeper, 6), []);
    assert_eq!(keeper.due(moment(65).at)[0].annotations, said(2));
}

#[test]
fn an_earlier_process_is_gone_on_from() {
    let mut before = Keeper::new(Nanos::from_secs(RESEND));
    before.fire(&labels(1), said(1), moment(0));
    before.fire(&labels(2), said(2), moment(0));
    before.resolve(&labels(2), moment(10));
    let kept = before.changed().unwrap();
    assert_eq!((kept.len(), before.changed()), (2, None));
    // The clock that only runs forwards has begun anew.
    let now = Moment { at: Nanos::from_secs(3), unix_ns: moment(20).unix_ns };
    let mut keeper = Keeper::new(Nanos::from_secs(RESEND));
    keeper.restore(kept.clone(), now);
    assert!(keeper.is_firing(&labels(1)) && !keeper.is_firing(&labels(2)));
    assert_eq!(keeper.due(now.at), kept);
    let mut late = Keeper::new(Nanos::from_secs(RESEND));
    late.restore(kept, moment(10 + 900));
    assert_eq!(due(&mut late, 910), [("1".to_owned(), 0, None)], "what ended long ago is forgotten");
}

#[test]
fn everybody_who_ends_at_once_is_told_of_before_any_is_forgotten() {
    let mut keeper = Keeper::new(Nanos::from_secs(RESEND));
    let all: Vec<Labels> = (0..MOST_ENDED + 5)
        .map(|n| Labels::new(Name::TargetDown, &BTreeMap::new(), [("target", &*n.to_string())]))
        .collect();
    for labels in &all {
        keeper.fire(labels, said(0), moment(0));
        keeper.resolve(labels, moment(1));
    }
    assert_eq!(keeper.due(moment(1).at).len(), all.len());
    assert_eq!((keeper.alerts.len(), keeper.ended), (MOST_ENDED, MOST_ENDED));
}

/// What one alert has been through, and when it was last sent.
#[derive(Clone, Default)]
struct Plain {
    story: Vec<(bool, u64)>,
    said: u8,
    sent: Option<u64>,
}

proptest! {
    /// Against the plainest telling: an alert fires since the first of the last words that said so.
    #[test]
    fn agrees_with_a_plain_model(story in proptest::collection::vec((0u64..200, 0u8..4, any::<bool>(), 0u8..2), 1..120)) {
        let mut keeper = Keeper::new(Nanos::from_secs(RESEND));
        let mut plain: BTreeMap<u8, Plain> = BTreeMap::new();
        let mut now = 0;
        for (seconds, n, fires, word) in story {
            now += seconds;
            let model = plain.entry(n).or_default();
            let is_firing = model.story.last().is_some_and(|(fires, _)| *fires);
            if fires {
                keeper.fire(&labels(n), said(word), moment(now));
                if !is_firing || model.said != word {
                    (model.said, model.sent) = (word, None);
                }
            } else {
                keeper.resolve(&labels(n), moment(now));
            }
            if fires != is_firing {
                model.story.push((fires, now));
                model.sent = None;
            }
            let mut expected = Vec::new();
            for (n, model) in &mut plain {
                let Some((fires, at)) = model.story.last().copied() else { continue };
                let is_over = !fires && model.sent.is_some() && now >= at + 900;
                if is_over {
                    model.story.clear();
                    continue;
                }
                if model.sent.is_none_or(|sent| now >= sent + RESEND) {
                    model.sent = Some(now);
                    let starts = model.story.iter().rfind(|(fires, _)| *fires).unwrap().1;
                    expected.push((n.to_string(), starts, (!fires).then_some(at)));
                }
                if !fires && now >= at + 900 {
                    model.story.clear();
                }
            }
            let told = due(&mut keeper, now);
            // What has ended is told once more at most before it is forgotten.
            let differ = told.iter().filter(|one| !expected.contains(one)).collect::<Vec<_>>();
            prop_assert!(differ.iter().all(|(_, _, ends)| ends.is_some_and(|at| now >= at + 900)), "{told:?} {expected:?}");
            prop_assert!(expected.iter().all(|one| told.contains(one)), "{told:?} {expected:?}");
            let firing = plain.values().filter(|model| model.story.last().is_some_and(|(fires, _)| *fires)).count();
            prop_assert_eq!(keeper.firing().count(), firing);
        }
    }
}
