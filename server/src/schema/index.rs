//! One index of a table: which values of which column it finds, and in which of the table's stores its entries are.
//!
//! Two kinds, as in Cassandra 5.0: the classic one (`COMPOSITES`), which answers equality on one column, and the storage-attached one (SAI, `CUSTOM`), which
//! also answers ranges and stands beside others of its kind in one query.
//!
//! What must hold: `store` is used once in the life of a table, also if the index is dropped and made again.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Display;
use std::sync::LazyLock;

use palladium_protocol::cql::ast::{IndexTargetKind, Name};
use palladium_protocol::types::CqlType;
use palladium_storage::Store;
use unicode_normalization::UnicodeNormalization;

/// An index, as its table knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    pub name: String,
    pub column: String,
    pub target: IndexTargetKind,
    /// What USING named; None: the classic index.
    pub class: Option<String>,
    /// What OPTIONS said.
    pub options: BTreeMap<String, String>,
    /// Where its entries are.
    pub store: Store,
    /// How they stand there: `derived::layout`.
    pub layout: u8,
    /// Whether what the table held before it has been indexed.
    pub is_built: bool,
}

/// What is asked of an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    Equal,
    Range,
    Contains,
    ContainsKey,
    /// `m[key] = value`
    Entry,
    /// IN, tuples: no index answers them.
    Other,
}

impl Index {
    pub fn is_sai(&self) -> bool {
        self.class.is_some()
    }

    /// As `system_schema.indexes` and DESCRIBE spell it.
    pub fn target_text(&self) -> String {
        target_text(self.target, Name::exact(&self.column))
    }

    /// What `system_schema.indexes` calls its options.
    pub fn shown_options(&self) -> BTreeMap<String, String> {
        let mut options = self.options.clone();
        options.insert("target".into(), self.target_text());
        if let Some(class) = &self.class {
            options.insert("class_name".into(), class.clone());
        }
        options
    }

    /// The type of the values that it finds, for a column of type `ty`.
    pub fn term_type(&self, ty: &CqlType) -> CqlType {
        match (self.target, ty.bare()) {
            (IndexTargetKind::Keys, CqlType::Map(key, _)) => (**key).clone(),
            (IndexTargetKind::Entries, CqlType::Map(key, value)) => {
                CqlType::tuple([(**key).clone(), (**value).clone()])
            }
            (
                IndexTargetKind::Values,
                CqlType::Map(_, inner) | CqlType::List(inner) | CqlType::Set(inner),
            ) => (**inner).clone(),
            _ => ty.clone(),
        }
    }

    /// Whether it answers a question about its column of type `ty`.
    pub fn answers(&self, question: Question, ty: &CqlType) -> bool {
        if self.is_of_vectors(ty) {
            // Who is near is another question.
            return false;
        }
        match question {
            Question::Equal => {
                matches!(self.target, IndexTargetKind::Simple | IndexTargetKind::Full)
            }
            Question::Range => {
                self.is_sai() && self.target == IndexTargetKind::Simple && has_ranges(ty)
            }
            Question::Contains => self.target == IndexTargetKind::Values,
            Question::ContainsKey => self.target == IndexTargetKind::Keys,
            Question::Entry => self.target == IndexTargetKind::Entries,
            Question::Other => false,
        }
    }

    /// Whether its entries for a column of type `ty` stand in their order: it answers ranges, or all of them are read for what is near.
    pub fn has_order(&self, ty: &CqlType) -> bool {
        self.is_of_vectors(ty) || self.answers(Question::Range, ty)
    }

    /// Whether it knows what is near, and nothing else: nobody asks it for a value.
    pub fn is_of_vectors(&self, ty: &CqlType) -> bool {
        self.is_sai() && matches!(ty.bare(), CqlType::Vector(..))
    }

    /// What Cassandra calls that which makes terms of an SAI's values.
    pub fn analyzer(&self) -> String {
        let said = ["case_sensitive", "normalize", "ascii"]
            .iter()
            .any(|option| self.options.contains_key(*option));
        if !said {
            return "NoOpAnalyzer".into();
        }
        let fold = self.fold().unwrap_or_default();
        format!(
            "NonTokenizingAnalyzer{{caseSensitive={}, normalized={}, ascii={}}}",
            !fold.lower, fold.normalize, fold.ascii
        )
    }

    /// How texts are folded before they are compared; None: they are not.
    pub fn fold(&self) -> Option<Fold> {
        let says = |option: &str, value: &str| {
            let said = self.options.get(option);
            said.is_some_and(|said| said.eq_ignore_ascii_case(value))
        };
        let fold = Fold {
            lower: says("case_sensitive", "false"),
            normalize: says("normalize", "true"),
            ascii: says("ascii", "true"),
        };
        (fold.lower || fold.normalize || fold.ascii).then_some(fold)
    }
}

/// What of a column is indexed, as Cassandra spells it: `v`, `keys(m)`.
pub fn target_text(kind: IndexTargetKind, column: impl Display) -> String {
    match kind {
        IndexTargetKind::Simple => column.to_string(),
        kind => format!("{}({column})", target_name(kind)),
    }
}

/// As Cassandra spells a target in statements and errors.
pub fn target_name(kind: IndexTargetKind) -> &'static str {
    match kind {
        IndexTargetKind::Simple => "simple",
        IndexTargetKind::Values => "values",
        IndexTargetKind::Keys => "keys",
        IndexTargetKind::Entries => "entries",
        IndexTargetKind::Full => "full",
    }
}

/// Whether the terms of an SAI over this type are strings of bytes to Cassandra, and not numbers of a fixed length.
pub fn is_literal(ty: &CqlType) -> bool {
    !has_ranges(ty) && *ty != CqlType::Uuid
}

/// Whether an SAI answers ranges of this type: of texts, booleans and what is frozen it finds equal ones only.
fn has_ranges(ty: &CqlType) -> bool {
    matches!(
        ty,
        CqlType::Int
            | CqlType::Bigint
            | CqlType::Smallint
            | CqlType::Tinyint
            | CqlType::Varint
            | CqlType::Decimal
            | CqlType::Float
            | CqlType::Double
            | CqlType::Date
            | CqlType::Time
            | CqlType::Timestamp
            | CqlType::Timeuuid
            | CqlType::Inet
    )
}

/// How an SAI makes different spellings of a text one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fold {
    pub lower: bool,
    pub normalize: bool,
    pub ascii: bool,
}

impl Fold {
    /// The text as it is indexed and compared.
    pub fn apply(self, text: &[u8]) -> Cow<'_, [u8]> {
        let Ok(text) = std::str::from_utf8(text) else {
            return Cow::Borrowed(text);
        };
        let mut folded = text.to_owned();
        if self.lower {
            folded = folded.to_lowercase();
        }
        if self.normalize {
            folded = folded.nfc().collect();
        }
        if self.ascii {
            folded = to_ascii(&folded);
        }
        Cow::Owned(folded.into_bytes())
    }
}

/// What each letter is folded to: a line for each, a tab, and the letters. Measured of Cassandra 5.0.6, letter by letter of the basic plane.
const FOLDED: &str = include_str!("ascii_folding.txt");

static ASCII: LazyLock<HashMap<char, &str>> = LazyLock::new(|| {
    let lines = FOLDED.lines().filter_map(|line| line.split_once('\t'));
    let letters = |(ascii, letters): (&'static str, &'static str)| {
        letters.chars().map(move |letter| (letter, ascii))
    };
    lines.flat_map(letters).collect()
});

/// Letters without the marks that are a part of them, and what looks alike; a mark that stands alone is kept.
fn to_ascii(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        let folded = match letter.is_ascii() {
            true => None,
            false => ASCII.get(&letter),
        };
        match folded {
            Some(ascii) => out.push_str(ascii),
            None => out.push(letter),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_text_meet() {
        let all = Fold {
            lower: true,
            normalize: true,
            ascii: true,
        };
        for text in ["Crème Brûlée", "creme brulee", "CRE\u{300}ME BRULE\u{301}E"] {
            assert_eq!(&*all.apply(text.as_bytes()), b"creme brulee");
        }
        let normalize = Fold {
            lower: false,
            ascii: false,
            ..all
        };
        let ascii = Fold {
            ascii: true,
            ..Fold::default()
        };
        for (text, folded) in [
            ("é", "e"),
            // A mark that stands alone is no part of its letter.
            ("e\u{301}", "e\u{301}"),
            ("Ǽ⓫ﬁ«", "AE11fi\""),
            ("Άй½", "Άй½"),
        ] {
            assert_eq!(&*ascii.apply(text.as_bytes()), folded.as_bytes());
        }
        assert_eq!(&*normalize.apply("e\u{301}".as_bytes()), "é".as_bytes());
        assert_eq!(&*normalize.apply(b"\xff"), b"\xff", "no text is left alone");
    }
}
