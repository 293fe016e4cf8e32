//! Wrong statements: good ones with a word left out, doubled, swapped, replaced, or cut short. Some of them are right by chance, which does not matter.

use crate::chance::Chance;
use crate::oracle::step::{Purpose, Step};

/// Words that may stand where none should.
const WORDS: [&str; 40] = [
    "SELECT", "FROM", "WHERE", "AND", "IN", "(", ")", "[", "]", "{", "}", ",", ";", "=", "<", "!=",
    "+", "-", "*", ".", "..", ":", "?", "null", "'x'", "1", "1.5", "0xZZ", "token", "AS", "IF",
    "NOT", "EXISTS", "USING", "TTL", "t9", "nope", "\"Q\"", "count", "$$a$$",
];

/// A good statement made wrong; of a BATCH one of its members.
pub fn mutate(chance: &mut Chance, step: &Step) -> Step {
    let Some(batch) = &step.batch else {
        return Step {
            text: spoil(chance, &step.text),
            purpose: Purpose::Wrong,
            ..step.clone()
        };
    };
    let mut batch = batch.clone();
    if !batch.members.is_empty() {
        let place = chance.below(batch.members.len());
        let member = &mut batch.members[place];
        match chance.below(3) {
            0 => drop(member.values.pop()),
            _ => member.text = spoil(chance, &member.text),
        }
    }
    Step {
        purpose: Purpose::Wrong,
        ..Step::batch(batch)
    }
}

fn spoil(chance: &mut Chance, text: &str) -> String {
    let mut words = words(text);
    for _ in 0..1 + chance.below(2) {
        if words.is_empty() {
            break;
        }
        let place = chance.below(words.len());
        match chance.below(6) {
            0 => {
                words.remove(place);
            }
            1 => words.insert(place, words[place].clone()),
            2 => {
                let other = chance.below(words.len());
                words.swap(place, other);
            }
            3 => words[place] = WORDS[chance.below(WORDS.len())].to_owned(),
            4 => words.insert(place, WORDS[chance.below(WORDS.len())].to_owned()),
            _ => words.truncate(place + 1),
        }
    }
    words.join(" ")
}

/// A text as its words: names, numbers and strings whole, everything else letter by letter.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = text.chars().peekable();
    while let Some(first) = rest.next() {
        if first.is_whitespace() {
            continue;
        }
        let mut word = String::from(first);
        if first == '\'' || first == '"' {
            for next in rest.by_ref() {
                word.push(next);
                if next == first {
                    break;
                }
            }
        } else if first.is_alphanumeric() || first == '_' {
            while let Some(next) =
                rest.next_if(|next| next.is_alphanumeric() || matches!(next, '_' | '-'))
            {
                word.push(next);
            }
        }
        words.push(word);
    }
    words
}
