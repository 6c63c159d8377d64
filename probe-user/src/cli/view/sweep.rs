//! The progress of a sweep, on one line.

use super::rate;
use crate::{
    base::Nanos,
    results::human::{NOTHING, count, elapsed},
};
use std::collections::VecDeque;

/// The rate shown is that of this time.
const WINDOW: Nanos = Nanos::from_secs(2);
/// A shorter bar says nothing.
const LEAST_BAR: usize = 10;

/// Remembers the last two seconds, for the rate.
#[derive(Debug, Default)]
pub struct SweepView {
    points: VecDeque<(Nanos, u64)>,
}

impl SweepView {
    /// `[=====>    ]  41 %   432,123 of 1,048,576   200,000/s   found 431,999   3 s left`, at most `width` columns.
    ///
    /// `sent` of `total` targets have been probed at the moment `now`; `found` of them have answered.
    pub fn line(&mut self, now: Nanos, sent: u64, total: u64, found: u64, width: usize) -> String {
        self.points.push_back((now, sent));
        while self.points.len() > 2 && now - self.points[1].0 >= WINDOW {
            self.points.pop_front();
        }
        let (from, before) = self.points[0];
        let recent = sent.saturating_sub(before);
        let left = match total.saturating_sub(sent) {
            0 => "waiting for the last answers".to_owned(),
            _ if recent == 0 => format!("{NOTHING} left"),
            more => {
                let ns = u128::from(more) * u128::from((now - from).0) / u128::from(recent);
                format!("{} left", elapsed(Nanos(u64::try_from(ns).unwrap_or(u64::MAX))))
            }
        };
        let percent = u128::from(sent.min(total)) * 100 / u128::from(total.max(1));
        let figures = format!(
            "{percent:3} %   {} of {}   {}   found {}   {left}",
            count(sent),
            count(total),
            rate(recent, now - from),
            count(found)
        );
        let room = width.saturating_sub(figures.len() + 4).min(40);
        if room < LEAST_BAR {
            return figures.chars().take(width).collect();
        }
        format!("[{}] {figures}", bar(room, sent, total))
    }
}

/// `=====>    `, `width` columns.
fn bar(width: usize, part: u64, whole: u64) -> String {
    let done = u128::from(part.min(whole)) * width as u128 / u128::from(whole.max(1));
    let done = usize::try_from(done).unwrap_or(width);
    let head = if done < width { ">" } else { "" };
    format!("{}{head}{}", "=".repeat(done), " ".repeat(width - done - head.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sweep_from_start_to_end() {
        let mut view = SweepView::default();
        let total = 1_000_000;
        assert_eq!(
            view.line(Nanos::from_secs(10), 0, total, 0, 90),
            "[>                                       ]   0 %   0 of 1,000,000   -   found 0   - left"
        );
        assert_eq!(
            view.line(Nanos::from_secs(11), 200_000, total, 199_000, 90),
            "[===>               ]  20 %   200,000 of 1,000,000   200,000/s   found 199,000   4 s left"
        );
        // Faster since: the first second no longer counts.
        view.line(Nanos::from_secs(12), 400_000, total, 399_000, 90);
        let line = view.line(Nanos::from_secs(13), 800_000, total, 799_000, 90);
        assert!(line.contains("300,000/s") && line.ends_with("0 s left"), "{line}");
        assert_eq!(
            view.line(Nanos::from_secs(14), total, total, 999_000, 70),
            "100 %   1,000,000 of 1,000,000   300,000/s   found 999,000   waiting f"
        );
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        for width in 0..200 {
            let line = SweepView::default().line(Nanos::from_secs(1), 500, 1_000, 7, width);
            assert!(line.chars().count() <= width, "{width}: {line}");
        }
    }

    #[test]
    fn nothing_to_do_is_done() {
        assert!(SweepView::default().line(Nanos::ZERO, 0, 0, 0, 120).contains("0 of 0"));
    }
}
