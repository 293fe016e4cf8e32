//! Histories that are linearizable, histories that are not, and thousands of small ones held against every order there is.

use super::{Call, End, Impossible, check};
use crate::chance::Chance;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Input {
    Read,
    Write(u8),
    /// From, to.
    Swap(u8, u8),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Output {
    Saw(u8),
    Done,
    Refused,
}

use Input::{Read, Swap, Write};
use Output::{Done, Refused, Saw};

fn apply(state: &u8, input: &Input) -> (u8, Output) {
    match *input {
        Read => (*state, Saw(*state)),
        Write(value) => (value, Done),
        Swap(from, to) if from == *state => (to, Done),
        Swap(..) => (*state, Refused),
    }
}

fn call(sent: u64, at: u64, input: Input, output: Output) -> Call<Input, Output> {
    let end = End::Answered { at, output };
    Call { input, sent, end }
}

fn lost(sent: u64, until: u64, input: Input) -> Call<Input, Output> {
    let end = End::Unknown { until };
    Call { input, sent, end }
}

fn judge(calls: &[Call<Input, Output>]) -> Result<(), Impossible> {
    check(0, calls, apply, |output| *output != Done)
}

fn is_linearizable(calls: &[Call<Input, Output>]) -> bool {
    judge(calls).is_ok()
}

#[test]
fn one_after_the_other_each_sees_what_came_before() {
    let calls = [
        call(1, 2, Write(1), Done),
        call(3, 4, Read, Saw(1)),
        call(5, 6, Swap(1, 2), Done),
        call(7, 8, Swap(1, 3), Refused),
        call(9, 10, Read, Saw(2)),
    ];
    assert!(is_linearizable(&calls));
}

#[test]
fn an_old_value_after_a_newer_one_was_acknowledged_is_impossible() {
    let calls = [call(1, 2, Write(1), Done), call(3, 4, Read, Saw(0))];
    let error = judge(&calls).unwrap_err();
    assert_eq!(error.call, 1);
    assert!(error.to_string().contains("Saw(0)"), "{error}");
}

#[test]
fn during_a_write_both_values_may_be_seen_but_not_the_old_one_after_the_new_one() {
    let write = call(1, 10, Write(1), Done);
    let early = call(2, 3, Read, Saw(0));
    let late = call(4, 5, Read, Saw(1));
    assert!(is_linearizable(&[
        write.clone(),
        early.clone(),
        late.clone()
    ]));
    let again = call(6, 7, Read, Saw(0));
    assert!(!is_linearizable(&[write, early, late, again]));
}

#[test]
fn of_two_who_swap_the_same_value_one_is_refused() {
    let first = call(1, 10, Swap(0, 1), Done);
    let second = |output| call(2, 9, Swap(0, 2), output);
    assert!(is_linearizable(&[first.clone(), second(Refused)]));
    assert!(!is_linearizable(&[first, second(Done)]));
}

#[test]
fn nobody_is_refused_what_nobody_had_taken() {
    assert!(!is_linearizable(&[call(1, 2, Swap(0, 1), Refused)]));
}

#[test]
fn a_call_without_an_answer_happens_once_or_never() {
    let swap = lost(1, u64::MAX, Swap(0, 1));
    assert!(is_linearizable(&[swap.clone(), call(2, 3, Read, Saw(0))]));
    assert!(is_linearizable(&[
        swap.clone(),
        call(2, 3, Read, Saw(0)),
        call(4, 5, Read, Saw(1))
    ]));
    let back = [
        swap.clone(),
        call(2, 3, Read, Saw(1)),
        call(4, 5, Write(0), Done),
    ];
    assert!(is_linearizable(&back));
    let twice = [&back[..], &[call(6, 7, Read, Saw(1))]].concat();
    assert!(!is_linearizable(&twice));
    assert!(!is_linearizable(&[call(2, 3, Read, Saw(1))]));
}

#[test]
fn a_call_that_died_with_its_server_does_not_happen_afterwards() {
    let died = |until| lost(1, until, Write(1));
    let reads = [call(4, 5, Read, Saw(0)), call(6, 7, Read, Saw(1))];
    let history = |until| [&[died(until)][..], &reads].concat();
    assert!(!is_linearizable(&history(3)));
    assert!(is_linearizable(&history(u64::MAX)));
    let seen = [died(3), call(4, 5, Read, Saw(1))];
    assert!(is_linearizable(&seen));
}

#[test]
fn a_call_does_not_happen_before_it_was_sent() {
    let calls = [
        call(1, 2, Read, Saw(1)),
        call(3, 4, Write(1), Done),
        call(5, 6, Read, Saw(1)),
    ];
    assert!(!is_linearizable(&calls));
}

#[test]
fn a_long_history_of_many_clients_and_lost_calls_is_checked_in_no_time() {
    // Each round: eight swaps of the same value under way at once, of which one is told that it won, and a lost one that could have won before.
    let mut calls = Vec::new();
    for round in 0..500_u64 {
        let (now, at) = ((round % 200) as u8, round * 100 + 1);
        let next = ((round + 1) % 200) as u8;
        calls.push(lost(at, u64::MAX, Swap(250, 251)));
        for other in 1..8 {
            calls.push(call(at + other, at + 60 + other, Swap(now, 220), Refused));
        }
        calls.push(call(at + 20, at + 50, Swap(now, next), Done));
    }
    assert!(is_linearizable(&calls));
    calls.push(call(300_000, 300_001, Read, Saw(220)));
    assert!(!is_linearizable(&calls));
}

#[test]
fn a_write_of_what_stands_there_may_be_what_sets_it_back() {
    let calls = [
        call(1, 8, Write(0), Done),
        call(2, 9, Swap(0, 1), Done),
        call(10, 11, Swap(1, 0), Refused),
    ];
    assert!(is_linearizable(&calls));
}

/// Every order in which the calls can have happened, tried one after the other: slow and obvious.
fn is_possible(state: u8, calls: &[Call<Input, Output>], happened: &[bool]) -> bool {
    let is_left = |index: usize| !happened[index];
    let answered = |index: usize| matches!(calls[index].end, End::Answered { .. });
    let left: Vec<usize> = (0..calls.len()).filter(|index| is_left(*index)).collect();
    if !left.iter().any(|index| answered(*index)) {
        return true;
    }
    left.iter().any(|&next| {
        // Whoever was answered before it was sent comes before it. An unanswered one whose time is over may be left out.
        let late = |other: &usize| answered(*other) && calls[*other].end.at() < calls[next].sent;
        if left.iter().any(late) {
            return false;
        }
        let mut happened = happened.to_vec();
        happened[next] = true;
        // What has happened before it must have been sent before its end.
        let ends = calls[next].end.at();
        let overdue = |index: usize| !is_left(index) && calls[index].sent > ends;
        if (0..calls.len()).any(overdue) {
            return false;
        }
        let (after, output) = apply(&state, &calls[next].input);
        let fits = match &calls[next].end {
            End::Answered { output: told, .. } => output == *told,
            End::Unknown { .. } => true,
        };
        fits && is_possible(after, calls, &happened)
    })
}

/// A few calls at random moments with random answers, most of them likely ones.
fn small_history(chance: &mut Chance) -> Vec<Call<Input, Output>> {
    let count = 2 + chance.below(5);
    let mut moments: Vec<u64> = (0..2 * count as u64).collect();
    for index in (1..moments.len()).rev() {
        moments.swap(index, chance.below(index + 1));
    }
    let value = |chance: &mut Chance| chance.below(3) as u8;
    let of = |(moments, chance): (&[u64], &mut Chance)| {
        let input = match chance.below(3) {
            0 => Read,
            1 => Write(value(chance)),
            _ => Swap(value(chance), value(chance)),
        };
        let output = match input {
            Read => Saw(value(chance)),
            Write(_) => Done,
            Swap(..) => [Done, Refused][chance.below(2)],
        };
        let (sent, at) = (moments[0].min(moments[1]), moments[0].max(moments[1]));
        match chance.below(4) {
            0 if chance.below(2) == 0 => lost(sent, u64::MAX, input),
            0 => lost(sent, at, input),
            _ => call(sent, at, input, output),
        }
    };
    moments.chunks(2).map(|pair| of((pair, chance))).collect()
}

#[test]
fn what_is_said_of_small_histories_is_what_every_order_says() {
    let mut chance = Chance::for_test("what_is_said_of_small_histories_is_what_every_order_says");
    let mut found = [0; 2];
    for _ in 0..20_000 {
        let calls = small_history(&mut chance);
        let possible = is_possible(0, &calls, &vec![false; calls.len()]);
        assert_eq!(is_linearizable(&calls), possible, "{calls:?}");
        found[usize::from(possible)] += 1;
    }
    assert!(found.iter().all(|count| *count > 2_000), "{found:?}");
}
