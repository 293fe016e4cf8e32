//! Whether two answers are alike, and under which heading a difference is counted.
//!
//! Everything counts: kind of answer, columns with keyspace, table, name and type, rows in their order, whether there are more, warnings, code, text
//! and fields of an error. What cannot be equal is left out: a page state, the id of a prepared statement, the seconds that a TTL has left.
//! The heading of a difference is what remains when names and numbers of this statement are taken away: a thousand differences have few headings.

use bytes::{Buf, Bytes};
use num_bigint::BigInt;

use super::answer::{Answer, Column, Kind, Refusal, Reply, Table, Type, parts};

/// How far two readings of a remaining TTL may be apart.
const TTL_SLACK_S: i64 = 30;

/// Timestamps that statements bear are small; a greater one is a server's own.
const CLOCK_MIN_US: i64 = 1_000_000_000_000_000;

/// How far two clocks of one machine may be apart when both servers have written.
const CLOCK_SLACK_US: u64 = 600_000_000;

/// Why two answers are not alike; `None` if they are.
pub fn difference(theirs: &Reply, ours: &Reply) -> Option<String> {
    let heading = match (&theirs.answer, &ours.answer) {
        (Answer::Void, Answer::Void) => None,
        (Answer::Keyspace(left), Answer::Keyspace(right)) if left == right => None,
        (Answer::SchemaChange(left), Answer::SchemaChange(right)) if left == right => None,
        (Answer::Rows(left), Answer::Rows(right)) => tables(left, right),
        (
            Answer::Prepared {
                partition_key: left_key,
                markers: left_markers,
                result: left_result,
                ..
            },
            Answer::Prepared {
                partition_key: right_key,
                markers: right_markers,
                result: right_result,
                ..
            },
        ) => columns("markers", left_markers, right_markers)
            .or_else(|| columns("result", left_result, right_result))
            .or_else(|| (left_key != right_key).then(|| "partition key of markers".into())),
        (Answer::Refused(left), Answer::Refused(right)) => {
            (!same_refusal(left, right)).then(|| {
                format!(
                    "error: {:#06x} {} | ours: {:#06x} {}",
                    left.code,
                    template(&left.message),
                    right.code,
                    template(&right.message)
                )
            })
        }
        _ => Some(format!(
            "kind: {} | ours: {}",
            kind(&theirs.answer),
            kind(&ours.answer)
        )),
    };
    heading.or_else(|| {
        (theirs.warnings != ours.warnings).then(|| {
            let joined = |warnings: &[String]| template(&warnings.join("; "));
            format!(
                "warnings: {} | ours: {}",
                joined(&theirs.warnings),
                joined(&ours.warnings)
            )
        })
    })
}

/// Errors are alike to the letter, but for the order in which Cassandra lists functions: that of a hash table, another one at each start.
fn same_refusal(left: &Refusal, right: &Refusal) -> bool {
    const LIST: &str = "(known type signatures: ";
    const AMBIGUOUS: &str = "(can be matched by following signatures: ";
    let in_order = |message: &str| {
        let split = message
            .split_once(LIST)
            .or_else(|| message.split_once(AMBIGUOUS));
        let (before, list) = split?;
        let list = list.trim_end_matches(": use type casts to disambiguate");
        let mut signatures: Vec<String> = list
            .strip_suffix(')')?
            .split(", system.")
            .map(|signature| signature.trim_start_matches("system.").to_owned())
            .collect();
        signatures.sort();
        Some((before.to_owned(), signatures))
    };
    left == right
        || left.code == right.code
            && in_order(&left.message).is_some()
            && in_order(&left.message) == in_order(&right.message)
}

/// Ours with the rows of theirs if those are the same ones in another order.
pub fn in_their_order(theirs: &Reply, ours: &Reply) -> Reply {
    let mut ours = ours.clone();
    if let (Answer::Rows(left), Answer::Rows(right)) = (&theirs.answer, &mut ours.answer) {
        let sorted = |rows: &Vec<Vec<Option<Bytes>>>| {
            let mut rows = rows.clone();
            rows.sort();
            rows
        };
        if sorted(&left.rows) == sorted(&right.rows) {
            right.rows.clone_from(&left.rows);
        }
    }
    ours
}

/// Theirs with the floats of ours where the two are the same but for their last digits.
pub fn with_close_floats(theirs: &Reply, ours: &Reply) -> Reply {
    const CLOSE: f32 = 1e-4;
    with_ours(theirs, ours, |column, left, right| {
        if column.ty != Type::Native("float", Kind::Float) {
            return false;
        }
        if let (Some(mut one), Some(mut other)) = (left, right)
            && let (Ok(one), Ok(other)) = (one.try_get_f32(), other.try_get_f32())
        {
            return (one - other).abs() <= CLOSE * one.abs().max(other.abs());
        }
        false
    })
}

/// Theirs with what ours makes of the times of cells.
pub fn with_our_times(theirs: &Reply, ours: &Reply) -> Reply {
    with_ours(theirs, ours, |column, _, _| {
        column.name.contains("writetime(")
    })
}

/// Theirs with values of ours in the same places, of a column each, where these may stand for them.
fn with_ours(
    theirs: &Reply,
    ours: &Reply,
    may_stand: impl Fn(&Column, Option<&[u8]>, Option<&[u8]>) -> bool,
) -> Reply {
    let mut theirs = theirs.clone();
    if let (Answer::Rows(left), Answer::Rows(right)) = (&mut theirs.answer, &ours.answer) {
        for (left_row, right_row) in left.rows.iter_mut().zip(&right.rows) {
            for ((column, left), right) in left.columns.iter().zip(left_row).zip(right_row) {
                if may_stand(column, left.as_deref(), right.as_deref()) {
                    left.clone_from(right);
                }
            }
        }
    }
    theirs
}

/// Theirs with varints of eight bytes in as few as they take: Cassandra keeps what was calculated as a bigint in these.
pub fn with_short_varints(theirs: &Reply) -> Reply {
    let mut theirs = theirs.clone();
    if let Answer::Rows(table) = &mut theirs.answer {
        for row in &mut table.rows {
            for (column, value) in table.columns.iter().zip(row) {
                let is_bigint = value.as_deref().is_some_and(|value| value.len() == 8);
                if !is_bigint || !matches!(column.ty, Type::Native("varint", _)) {
                    continue;
                }
                while value.as_deref().is_some_and(is_padded) {
                    *value = value.as_ref().map(|value| value.slice(1..));
                }
            }
        }
    }
    theirs
}

/// Whether an integer's first byte says nothing that its second one does not say.
pub fn is_padded(number: &[u8]) -> bool {
    match number {
        [0x00, next, ..] => *next < 0x80,
        [0xff, next, ..] => *next >= 0x80,
        _ => false,
    }
}

fn kind(answer: &Answer) -> String {
    match answer {
        Answer::Void => "done".into(),
        Answer::Keyspace(_) => "keyspace".into(),
        Answer::SchemaChange(_) => "schema change".into(),
        Answer::Prepared { .. } => "prepared".into(),
        Answer::Rows(_) => "rows".into(),
        Answer::Refused(refusal) => {
            format!("{:#06x} {}", refusal.code, template(&refusal.message))
        }
        Answer::Gone(reason) => template(reason),
    }
}

fn columns(what: &str, left: &[Column], right: &[Column]) -> Option<String> {
    if left.len() != right.len() {
        return Some(format!("{what}: number of columns"));
    }
    // Cassandra names the keyspace of a user type in a type hint, ours only if it was written.
    let same_names = |left: &Column, right: &Column| {
        let of_hints = |column: &Column| column.name.replace(&format!("{}.", left.keyspace), "");
        alike_names(&left.name, &right.name) || alike_names(&of_hints(left), &of_hints(right))
    };
    let differ = |(left, right): &(&Column, &Column)| {
        let same_table = left.keyspace == right.keyspace && left.table == right.table;
        !same_table || left.ty != right.ty || !same_names(left, right)
    };
    let (left, right) = left.iter().zip(right).find(differ)?;
    Some(if !same_names(left, right) {
        format!(
            "{what}: name {} | ours: {}",
            template(&left.name),
            template(&right.name)
        )
    } else if left.ty != right.ty {
        format!(
            "{what}: type {} | ours: {} of {}",
            left.ty,
            right.ty,
            template(&left.name)
        )
    } else {
        format!("{what}: table of {}", template(&left.name))
    })
}

/// Names of results are alike but for the letters of a UUID in them, which ours repeats small, and for the fields of a user type, which Cassandra repeats in the
/// order of a hash table.
fn alike_names(left: &str, right: &str) -> bool {
    let is_written = |name: &str| name.contains(['[', '(', '{', '-']);
    let letters = |name: &str| {
        let mut letters: Vec<char> = name.to_ascii_lowercase().chars().collect();
        letters.sort_unstable();
        letters
    };
    left == right
        || without_casts(left) == without_casts(right)
        || is_written(left) && left.eq_ignore_ascii_case(right)
        || left.contains('{') && letters(left) == letters(right)
}

/// A name without the casts of columns of a key in it, a view's and renamed ones among them: of a descending one Cassandra does not see that it is cast to its
/// own type.
fn without_casts(name: &str) -> String {
    let mut out = String::new();
    let mut rest = name;
    let cast_of = |rest: &str| {
        ["cast(c", "cast(p", "cast(r"]
            .iter()
            .filter_map(|cast| rest.find(cast))
            .min()
    };
    while let Some(at) = cast_of(rest) {
        let (before, cast) = rest.split_at(at);
        out.push_str(before);
        let parts = cast.split_once(')').and_then(|(inside, after)| {
            let (column, _) = inside.strip_prefix("cast(")?.split_once(" as ")?;
            Some((column, after))
        });
        let Some((column, after)) = parts else {
            out.push_str(cast);
            return out;
        };
        out.push_str(column);
        rest = after;
    }
    out.push_str(rest);
    out
}

fn tables(left: &Table, right: &Table) -> Option<String> {
    if let Some(heading) = columns("columns", &left.columns, &right.columns) {
        return Some(heading);
    }
    if left.rows.len() != right.rows.len() {
        return Some("rows: number".into());
    }
    for (left_row, right_row) in left.rows.iter().zip(&right.rows) {
        if let Some(column) = unlike(&left.columns, left_row, right_row) {
            return Some(format!("value: {} {}", template(&column.name), column.ty));
        }
    }
    // An empty last page tells that there is no more just as well as the page before it would have.
    (left.page_state.is_some() != right.page_state.is_some() && !left.rows.is_empty())
        .then(|| "paging: one has more".into())
}

/// Whether two rows of the same columns say the same.
pub fn alike_rows(columns: &[Column], left: &[Option<Bytes>], right: &[Option<Bytes>]) -> bool {
    unlike(columns, left, right).is_none()
}

/// The first column in which two rows say something else.
fn unlike<'a>(
    columns: &'a [Column],
    left: &[Option<Bytes>],
    right: &[Option<Bytes>],
) -> Option<&'a Column> {
    let pairs = left.iter().zip(right);
    let mut values = columns.iter().zip(pairs);
    let found =
        values.find(|(column, (left, right))| !alike(column, left.as_ref(), right.as_ref()));
    found.map(|(column, _)| column)
}

fn alike(column: &Column, left: Option<&Bytes>, right: Option<&Bytes>) -> bool {
    if left == right {
        return true;
    }
    let (Some(left), Some(right)) = (left, right) else {
        return false;
    };
    let is_ttl = column.name.contains("ttl(");
    match &column.ty {
        Type::Native(_, Kind::Integer) if is_ttl && left.len() == 4 && right.len() == 4 => {
            let (mut left, mut right) = (&left[..], &right[..]);
            (i64::from(left.get_i32()) - i64::from(right.get_i32())).abs() <= TTL_SLACK_S
        }
        // Two clocks, not one that a statement set.
        Type::Native("bigint", _) => are_clocks(left, right),
        // Of a part that was never written there is none.
        Type::List(inner) if **inner == Type::Native("bigint", Kind::Integer) => {
            match (parts(left), parts(right)) {
                (Some(left), Some(right)) => {
                    left.len() == right.len()
                        && left.iter().zip(&right).all(|pair| match pair {
                            (Some(left), Some(right)) => are_clocks(left, right),
                            (left, right) => left == right,
                        })
                }
                _ => false,
            }
        }
        Type::Native("text", _) if column.name == "[json]" => {
            without_casts(&without_clocks(left)) == without_casts(&without_clocks(right))
        }
        // Which of the many NaN comes out of a calculation is the processor's business in Java.
        Type::Native(_, Kind::Float) => is_nan(left) && is_nan(right),
        // Of a collection's TTLs only their number is compared: each may have lost a second.
        Type::List(_) if is_ttl => left.len() == right.len(),
        // A set or map inside of another value, or in a clustering column that may be a descending one, stands in the order that it was bound in. Ours puts
        // it in its own: two spellings of one set are one key.
        ty => {
            let is_clustering = column.name.starts_with('c') && column.name.len() == 2;
            // A view's key may be any column. A decimal that was calculated is compared with its scale.
            let is_column = column.name.len() == 2 || !matches!(ty, Type::Native("decimal", _));
            // One may be shown as the least or the greatest, or as a part of a list, a set or a tuple.
            let name = column.name.trim_start_matches("system.min(");
            let name = name.trim_start_matches("system.max(");
            let name = name.trim_start_matches(['[', '{', '(']);
            let is_key = name.starts_with(['c', 'p', 'r']) || column.table.starts_with('w');
            let is_key = is_key && is_column;
            let read = |value| as_compared(ty, &in_order(ty, value, is_clustering), is_key);
            read(left) == read(right)
        }
    }
}

/// Whether both are readings of a clock at about the same time.
fn are_clocks(mut left: &[u8], mut right: &[u8]) -> bool {
    match (left.try_get_i64(), right.try_get_i64()) {
        (Ok(left), Ok(right)) => {
            left == right
                || left > CLOCK_MIN_US
                    && right > CLOCK_MIN_US
                    && left.abs_diff(right) < CLOCK_SLACK_US
        }
        _ => false,
    }
}

/// A JSON text without the readings of clocks in it.
fn without_clocks(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let mut out = String::new();
    for run in text.split_inclusive(|character: char| !character.is_ascii_digit()) {
        let digits = run.trim_end_matches(|character: char| !character.is_ascii_digit());
        let is_clock = digits.len() == 16 && digits.starts_with('1');
        out.push_str(if is_clock { &run[digits.len()..] } else { run });
    }
    out
}

/// A value with the sets and maps in it in the order of their bytes; the outermost only if it is `whole`. What cannot be read stays as it is.
fn in_order(ty: &Type, value: &[u8], whole: bool) -> Vec<u8> {
    ordered(ty, value, whole).unwrap_or_else(|| value.to_vec())
}

fn ordered(ty: &Type, value: &[u8], whole: bool) -> Option<Vec<u8>> {
    let mut rest = value;
    let mut out = Vec::with_capacity(value.len());
    match ty {
        Type::List(inner) | Type::Set(inner) => {
            let count = rest.try_get_i32().ok()?;
            let mut parts = Vec::new();
            for _ in 0..count {
                parts.push(part(inner, &mut rest)?);
            }
            if whole && matches!(ty, Type::Set(_)) {
                parts.sort();
            }
            out.extend(count.to_be_bytes());
            out.extend(parts.concat());
        }
        Type::Map(key, inner) => {
            let count = rest.try_get_i32().ok()?;
            let mut parts = Vec::new();
            for _ in 0..count {
                let mut entry = part(key, &mut rest)?;
                entry.extend(part(inner, &mut rest)?);
                parts.push(entry);
            }
            if whole {
                parts.sort();
            }
            out.extend(count.to_be_bytes());
            out.extend(parts.concat());
        }
        Type::Tuple(types) => {
            for ty in types {
                if !rest.is_empty() {
                    out.extend(part(ty, &mut rest)?);
                }
            }
        }
        Type::User(_, fields) => {
            for (_, ty) in fields {
                if !rest.is_empty() {
                    out.extend(part(ty, &mut rest)?);
                }
            }
        }
        Type::Native(..) | Type::Custom(_) => return Some(value.to_vec()),
    }
    rest.is_empty().then_some(out)
}

/// A value as it is compared where it is a key, or has keys in it (those of a map, the elements of a set). A decimal is then its number, however it is spelled. A user
/// type is without the nulls at its end: Cassandra gives a key back with the fields that its type had when it was written, ours with those that it has now.
fn as_compared(ty: &Type, value: &[u8], is_key: bool) -> Vec<u8> {
    shortened(ty, value, is_key).unwrap_or_else(|| value.to_vec())
}

fn shortened(ty: &Type, value: &[u8], is_key: bool) -> Option<Vec<u8>> {
    let mut rest = value;
    let mut out = Vec::with_capacity(value.len());
    let mut parts: Vec<(&Type, bool)> = Vec::new();
    match ty {
        Type::List(_) | Type::Set(_) | Type::Map(..) => {
            let count = rest.try_get_i32().ok()?;
            out.extend(count.to_be_bytes());
            for _ in 0..count {
                match ty {
                    Type::List(inner) => parts.push((inner, is_key)),
                    Type::Set(inner) => parts.push((inner, true)),
                    Type::Map(key, inner) => parts.extend([(&**key, true), (&**inner, is_key)]),
                    _ => return None,
                }
            }
        }
        Type::Tuple(types) => parts.extend(types.iter().map(|ty| (ty, is_key))),
        Type::User(_, fields) => parts.extend(fields.iter().map(|(_, ty)| (ty, is_key))),
        Type::Native("decimal", _) if is_key => return number(value),
        _ => return Some(value.to_vec()),
    }
    for (ty, is_key) in parts {
        if rest.is_empty() {
            break;
        }
        let length = rest.try_get_i32().ok()?;
        let own = match usize::try_from(length) {
            Err(_) => None,
            Ok(length) => {
                let (own, after) = rest.split_at_checked(length)?;
                rest = after;
                Some(as_compared(ty, own, is_key))
            }
        };
        let length = own.as_ref().map_or(-1, |own| own.len() as i32);
        out.extend(length.to_be_bytes());
        out.extend(own.unwrap_or_default());
    }
    if is_key && matches!(ty, Type::User(..)) {
        while out.ends_with(&[0xff; 4]) {
            out.truncate(out.len() - 4);
        }
    }
    rest.is_empty().then_some(out)
}

/// A decimal that is a key, without the zeros at its end. Of several spellings of one row's key Cassandra keeps the one it met first, in a memtable or in a file, and
/// of those of one literal the one that a hash table gave first; ours keeps the newest write's.
fn number(value: &[u8]) -> Option<Vec<u8>> {
    let (scale, unscaled) = value.split_first_chunk::<4>()?;
    let mut scale = i64::from(i32::from_be_bytes(*scale));
    let mut unscaled = BigInt::from_signed_bytes_be(unscaled);
    if unscaled == BigInt::ZERO {
        return Some(vec![0]);
    }
    while (&unscaled % 10u8) == BigInt::ZERO {
        unscaled /= 10u8;
        scale -= 1;
    }
    Some([&scale.to_be_bytes()[..], &unscaled.to_signed_bytes_be()].concat())
}

/// Whether theirs are rows of the same columns, and all of ours are among them, in their order.
pub fn is_part(theirs: &Reply, ours: &Reply) -> bool {
    match (&theirs.answer, &ours.answer) {
        (Answer::Rows(left), Answer::Rows(right)) => {
            let mut all = left.rows.iter();
            left.columns == right.columns && right.rows.iter().all(|row| all.any(|own| own == row))
        }
        _ => false,
    }
}

/// One length and the value behind it.
fn part(ty: &Type, rest: &mut &[u8]) -> Option<Vec<u8>> {
    let length = rest.try_get_i32().ok()?;
    let mut out = length.to_be_bytes().to_vec();
    if let Ok(length) = usize::try_from(length) {
        let (value, after) = rest.split_at_checked(length)?;
        *rest = after;
        out = in_order(ty, value, true);
        out.splice(0..0, i32::try_from(out.len()).ok()?.to_be_bytes());
    }
    Some(out)
}

fn is_nan(value: &[u8]) -> bool {
    match value.len() {
        4 => f32::from_bits((&value[..]).get_u32()).is_nan(),
        8 => f64::from_bits((&value[..]).get_u64()).is_nan(),
        _ => false,
    }
}

/// A text without the names and numbers of one statement.
pub fn template(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text.chars().peekable();
    while let Some(character) = rest.next() {
        match character {
            '0'..='9' => {
                while rest.peek().is_some_and(|next| {
                    next.is_ascii_hexdigit() || matches!(next, 'x' | '.' | '-' | ':')
                }) {
                    rest.next();
                }
                out.push('#');
            }
            '\'' | '"' | '(' | '[' | '{' => {
                let close = match character {
                    '(' => ')',
                    '[' => ']',
                    '{' => '}',
                    quote => quote,
                };
                let ahead: String = rest.clone().take_while(|next| *next != close).collect();
                out.push(character);
                if rest.clone().any(|next| next == close) {
                    for _ in ahead.chars() {
                        rest.next();
                    }
                    rest.next();
                    out.push('~');
                    out.push(close);
                }
            }
            other => out.push(other),
        }
        if out.len() > 160 {
            out.push('…');
            break;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLOCK_US: i64 = 1_795_766_279_032_000;

    fn list(numbers: &[Option<i64>]) -> Bytes {
        let mut out = (numbers.len() as i32).to_be_bytes().to_vec();
        for number in numbers {
            match number {
                Some(number) => {
                    out.extend(8_i32.to_be_bytes());
                    out.extend(number.to_be_bytes());
                }
                None => out.extend((-1_i32).to_be_bytes()),
            }
        }
        out.into()
    }

    #[test]
    fn a_number_is_padded_where_its_first_byte_says_nothing() {
        for padded in [&[0, 0][..], &[0, 0, 0, 5], &[0xff, 0x80], &[0xff, 0xff]] {
            assert!(is_padded(padded), "{padded:?}");
        }
        for whole in [&[][..], &[0], &[0xff], &[0, 0x80], &[0xff, 0x7f], &[1, 0]] {
            assert!(!is_padded(whole), "{whole:?}");
        }
    }

    #[test]
    fn clocks_are_alike_also_beside_what_was_never_written() {
        let column = Column {
            keyspace: "ks".into(),
            table: "t".into(),
            name: "writetime(s)".into(),
            ty: Type::List(Box::new(Type::Native("bigint", Kind::Integer))),
        };
        let alike = |left: &[Option<i64>], right: &[Option<i64>]| {
            alike(&column, Some(&list(left)), Some(&list(right)))
        };
        let (theirs, ours) = (Some(CLOCK_US), Some(CLOCK_US - 54));
        assert!(alike(&[None, theirs], &[None, ours]));
        assert!(alike(&[theirs, Some(2)], &[ours, Some(2)]));
        assert!(!alike(&[theirs, None], &[None, ours]));
        assert!(!alike(&[theirs, Some(2)], &[ours, Some(3)]));
        assert!(!alike(&[theirs], &[ours, None]));
    }
}
