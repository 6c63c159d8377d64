//! What must come out of a scenario: `LEFT = RIGHT` over the facts that it reports. Pure.
//!
//! A side is a sum of products of numbers, names of facts and words in double quotes; what stands between spaces is one of these.
//! `*` in a name stands for whatever makes it the name of a fact, the same in all names of a check: `*.answered = *.probes` holds
//! of each sweep there was, and fails if there was none.

use std::collections::BTreeMap;
use std::fmt;

/// What a scenario has reported.
pub(super) type Facts = BTreeMap<String, String>;

/// One thing that must be so.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Check {
    /// What it says, for people.
    pub(super) what: String,
    left: Side,
    how: How,
    right: Side,
}

/// How two sides compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    Equal,
    Other,
    Less,
    AtMost,
    More,
    AtLeast,
}

const HOWS: [(&str, How); 6] = [
    ("=", How::Equal),
    ("!=", How::Other),
    ("<", How::Less),
    ("<=", How::AtMost),
    (">", How::More),
    (">=", How::AtLeast),
];

/// Products, each added or taken away.
#[derive(Clone, Debug, PartialEq)]
struct Side(Vec<(bool, Vec<Factor>)>);

#[derive(Clone, Debug, PartialEq)]
enum Factor {
    Number(f64),
    Word(String),
    Fact(String),
}

#[derive(Clone, Debug, PartialEq)]
enum Value {
    Number(f64),
    Word(String),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Word(word) => write!(f, "{word}"),
        }
    }
}

impl Check {
    /// From its name and its text.
    ///
    /// # Errors
    /// What can't be read.
    pub(super) fn parse(what: &str, text: &str) -> Result<Self, String> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let at = words.iter().position(|word| HOWS.iter().any(|(sign, _)| sign == word));
        let sides = at.and_then(|at| {
            let how = HOWS.iter().find(|(sign, _)| *sign == words[at])?.1;
            Some((Side::parse(&words[..at])?, how, Side::parse(&words[at + 1..])?))
        });
        let (left, how, right) =
            sides.ok_or_else(|| format!("check {what}: `{text}` is not LEFT = RIGHT (or != < <= > >=)"))?;
        Ok(Self { what: what.into(), left, how, right })
    }

    /// What came of it: for each of the facts that it is about, in words; Err if it is not so.
    pub(super) fn judge(&self, facts: &Facts) -> Vec<Result<String, String>> {
        let mut stars: Vec<Option<&str>> = vec![None];
        if let Some(pattern) = self.names().find(|name| name.contains('*')) {
            let (begin, end) = pattern.split_once('*').unwrap_or((pattern, ""));
            let star = |key: &'_ String| -> Option<std::ops::Range<usize>> {
                (key.len() > begin.len() + end.len() && key.starts_with(begin) && key.ends_with(end))
                    .then(|| begin.len()..key.len() - end.len())
            };
            stars = facts.keys().filter_map(|key| star(key).map(|range| Some(&key[range]))).collect();
            if stars.is_empty() {
                return vec![Err(format!("there is no fact {pattern}"))];
            }
        }
        stars.into_iter().map(|star| self.judge_one(facts, star)).collect()
    }

    fn judge_one(&self, facts: &Facts, star: Option<&str>) -> Result<String, String> {
        let sides = self.left.value(facts, star).and_then(|left| Ok((left, self.right.value(facts, star)?)));
        let (left, right) = sides.map_err(|why| format!("{}: {why}", self.shown(star)))?;
        let holds = match (&left, &right) {
            (Value::Number(left), Value::Number(right)) => match self.how {
                How::Equal => left == right,
                How::Other => left != right,
                How::Less => left < right,
                How::AtMost => left <= right,
                How::More => left > right,
                How::AtLeast => left >= right,
            },
            _ => match self.how {
                How::Equal => left == right,
                How::Other => left != right,
                _ => return Err(format!("{}: {left} and {right} are not both numbers", self.shown(star))),
            },
        };
        let told = format!("{}: {left} {} {right}", self.shown(star), self.sign());
        if holds { Ok(told) } else { Err(told) }
    }

    fn sign(&self) -> &'static str {
        HOWS.iter().find(|(_, how)| *how == self.how).map_or("", |(sign, _)| sign)
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        let sides = [&self.left, &self.right].into_iter();
        sides.flat_map(|side| &side.0).flat_map(|(_, factors)| factors).filter_map(|factor| match factor {
            Factor::Fact(name) => Some(name.as_str()),
            _ => None,
        })
    }

    fn shown(&self, star: Option<&str>) -> String {
        format!("{} {} {}", self.left.shown(star), self.sign(), self.right.shown(star))
    }
}

impl Side {
    fn parse(words: &[&str]) -> Option<Self> {
        let mut products = vec![(true, Vec::new())];
        // Factors and signs take turns, and a factor begins and ends it.
        for (at, word) in words.iter().enumerate() {
            let last = &mut products.last_mut()?.1;
            match (at % 2, *word) {
                (0, "+" | "-" | "*") => return None,
                (0, word) => last.push(Factor::parse(word)?),
                (_, "*") => {}
                (_, "+") => products.push((true, Vec::new())),
                (_, "-") => products.push((false, Vec::new())),
                _ => return None,
            }
        }
        (words.len() % 2 == 1).then_some(Self(products))
    }

    fn value(&self, facts: &Facts, star: Option<&str>) -> Result<Value, String> {
        if let [(true, factors)] = &self.0[..]
            && let [factor] = &factors[..]
        {
            return factor.value(facts, star);
        }
        let mut sum = 0.0;
        for (added, factors) in &self.0 {
            let mut product = 1.0;
            for factor in factors {
                match factor.value(facts, star)? {
                    Value::Number(number) => product *= number,
                    Value::Word(word) => return Err(format!("{} is {word}, no number", factor.shown(star))),
                }
            }
            sum += if *added { product } else { -product };
        }
        Ok(Value::Number(sum))
    }

    fn shown(&self, star: Option<&str>) -> String {
        let mut text = String::new();
        for (added, factors) in &self.0 {
            if !text.is_empty() {
                text.push_str(if *added { " + " } else { " - " });
            }
            text.push_str(&factors.iter().map(|factor| factor.shown(star)).collect::<Vec<_>>().join(" * "));
        }
        text
    }
}

impl Factor {
    fn parse(word: &str) -> Option<Self> {
        if let Some(rest) = word.strip_prefix('"') {
            return rest.strip_suffix('"').map(|word| Self::Word(word.into()));
        }
        if let Some(number) = number(word) {
            return Some(Self::Number(number));
        }
        let named = |c: char| c.is_ascii_alphanumeric() || "_.*-".contains(c);
        (word.starts_with(|c: char| c.is_ascii_alphabetic() || c == '*') && word.chars().all(named))
            .then(|| Self::Fact(word.into()))
    }

    fn value(&self, facts: &Facts, star: Option<&str>) -> Result<Value, String> {
        match self {
            Self::Number(number) => Ok(Value::Number(*number)),
            Self::Word(word) => Ok(Value::Word(word.clone())),
            Self::Fact(_) => {
                let name = self.shown(star);
                let value = facts.get(&name).ok_or_else(|| format!("there is no fact {name}"))?;
                Ok(number(value).map_or_else(|| Value::Word(value.clone()), Value::Number))
            }
        }
    }

    fn shown(&self, star: Option<&str>) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Word(word) => format!("\"{word}\""),
            Self::Fact(name) => star.map_or_else(|| name.clone(), |star| name.replace('*', star)),
        }
    }
}

/// Digits, and not what else can be read as a number, such as `inf`.
fn number(text: &str) -> Option<f64> {
    text.trim_start_matches('-').starts_with(|c: char| c.is_ascii_digit()).then(|| text.parse().ok())?
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that meets none fails")]
mod tests {
    use super::*;

    fn facts() -> Facts {
        let pairs =
            [("a.probes", "10"), ("a.answered", "10"), ("b.c.probes", "8"), ("b.c.answered", "7"), ("left", "none")];
        pairs.into_iter().map(|(key, value)| (key.into(), value.into())).collect()
    }

    fn judged(text: &str) -> Vec<Result<String, String>> {
        Check::parse("x", text).unwrap().judge(&facts())
    }

    #[test]
    fn sides_are_compared() {
        assert_eq!(judged("a.answered = a.probes"), [Ok("a.answered = a.probes: 10 = 10".into())]);
        assert_eq!(
            judged("b.c.answered >= 0.9 * b.c.probes"),
            [Err("b.c.answered >= 0.9 * b.c.probes: 7 >= 7.2".into())]
        );
        assert_eq!(judged("a.probes - b.c.probes + 1 = 3"), [Ok("a.probes - b.c.probes + 1 = 3: 3 = 3".into())]);
        assert_eq!(judged("left = \"none\""), [Ok("left = \"none\": none = none".into())]);
        assert_eq!(judged("left != \"none\"").len(), 1);
        assert!(judged("left != \"none\"")[0].is_err());
    }

    #[test]
    fn a_star_is_each_that_there_is() {
        let told = judged("*.answered = *.probes");
        assert_eq!(told[0], Ok("a.answered = a.probes: 10 = 10".into()));
        assert_eq!(told[1], Err("b.c.answered = b.c.probes: 7 = 8".into()));
        assert_eq!(told.len(), 2);
    }

    #[test]
    fn what_is_not_there_is_not_so() {
        assert_eq!(judged("*.lost = 0"), [Err("there is no fact *.lost".into())]);
        assert_eq!(judged("lost = 0"), [Err("lost = 0: there is no fact lost".into())]);
        assert!(judged("left < 3")[0].as_ref().unwrap_err().contains("not both numbers"));
        assert!(judged("left + 1 = 3")[0].as_ref().unwrap_err().contains("no number"));
    }

    #[test]
    fn what_is_no_check_is_refused() {
        for text in ["", "a", "a =", "a = b c", "a is b", "+ a = b", "a = \"b", "a ; b = c"] {
            assert!(Check::parse("x", text).unwrap_err().starts_with("check x: "), "{text}");
        }
    }
}
