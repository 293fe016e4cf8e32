//! Tokens and keywords: the words of CQL and which of them may also be names.
//!
//! Keywords are exactly Cassandra 5.0's. Most are unreserved: a column may be called `type` or `key`. How far that goes
//! depends on the place, so each keyword has a [`Reach`]. Words that only this grammar knows (`RESTORE`, `TAGS`,
//! `BETWEEN`, ...) are no keywords at all; the parser recognizes them as plain identifiers where they may stand, and no
//! name is taken from anyone.

/// Where a keyword may stand as a name without quotes. Each place includes the ones before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reach {
    /// Nowhere.
    Reserved,
    /// As the name of a keyspace, table, column, field or role.
    Identifier,
    /// As the name of a function too.
    Function,
    /// As the name of a user-defined type too.
    Type,
}

macro_rules! keywords {
    ($($text:literal $keyword:ident $reach:ident,)*) => {
        /// A word with a meaning. Synonyms (`TABLE`, `COLUMNFAMILY`) are one keyword.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub(crate) enum Keyword { $($keyword,)* }

        /// Sorted by text; [`FIRST`] says where each letter begins.
        const KEYWORDS: &[(&str, Keyword, Reach)] = &[$(($text, Keyword::$keyword, Reach::$reach),)*];
    };
}

/// Second spellings of a keyword.
const SYNONYMS: [(&str, Keyword); 2] = [
    ("columnfamilies", Keyword::Tables),
    ("columnfamily", Keyword::Table),
];

/// The longest keyword has this many letters; longer words are not looked up.
const KEYWORD_LETTERS_MAX: usize = 14;

keywords! {
    "access" Access Type,
    "add" Add Reserved,
    "aggregate" Aggregate Type,
    "aggregates" Aggregates Type,
    "all" All Type,
    "allow" Allow Reserved,
    "alter" Alter Reserved,
    "and" And Reserved,
    "ann" Ann Type,
    "apply" Apply Reserved,
    "as" As Type,
    "asc" Asc Reserved,
    "ascii" Ascii Function,
    "authorize" Authorize Reserved,
    "batch" Batch Reserved,
    "begin" Begin Reserved,
    "bigint" Bigint Function,
    "blob" Blob Function,
    "boolean" Boolean Function,
    "by" By Reserved,
    "called" Called Type,
    "cast" Cast Identifier,
    "cidrs" Cidrs Type,
    "cluster" Cluster Type,
    "clustering" Clustering Type,
    "compact" Compact Type,
    "contains" Contains Type,
    "count" Count Identifier,
    "counter" Counter Function,
    "create" Create Reserved,
    "custom" Custom Type,
    "datacenters" Datacenters Type,
    "date" Date Function,
    "decimal" Decimal Function,
    "default" Default Type,
    "delete" Delete Reserved,
    "desc" Desc Reserved,
    "describe" Describe Reserved,
    "distinct" Distinct Identifier,
    "double" Double Function,
    "drop" Drop Reserved,
    "duration" Duration Function,
    "entries" Entries Reserved,
    "execute" Execute Reserved,
    "exists" Exists Type,
    "filtering" Filtering Type,
    "finalfunc" Finalfunc Type,
    "float" Float Function,
    "from" From Reserved,
    "frozen" Frozen Type,
    "full" Full Reserved,
    "function" Function Type,
    "functions" Functions Type,
    "grant" Grant Reserved,
    "group" Group Type,
    "hashed" Hashed Type,
    "identity" Identity Type,
    "if" If Reserved,
    "in" In Reserved,
    "index" Index Reserved,
    "inet" Inet Function,
    "infinity" Infinity Reserved,
    "initcond" Initcond Type,
    "input" Input Type,
    "insert" Insert Reserved,
    "int" Int Function,
    "internals" Internals Type,
    "into" Into Reserved,
    "is" Is Reserved,
    "json" Json Identifier,
    "key" Key Identifier,
    "keys" Keys Type,
    "keyspace" Keyspace Reserved,
    "keyspaces" Keyspaces Type,
    "language" Language Type,
    "like" Like Type,
    "limit" Limit Reserved,
    "list" List Type,
    "login" Login Type,
    "map" Map Type,
    "masked" Masked Type,
    "materialized" Materialized Reserved,
    "maxwritetime" Maxwritetime Identifier,
    "mbean" Mbean Type,
    "mbeans" Mbeans Type,
    "modify" Modify Reserved,
    "nan" Nan Reserved,
    "nologin" Nologin Type,
    "norecursive" Norecursive Reserved,
    "nosuperuser" Nosuperuser Type,
    "not" Not Reserved,
    "null" Null Reserved,
    "of" Of Reserved,
    "on" On Reserved,
    "only" Only Type,
    "options" Options Type,
    "or" Or Reserved,
    "order" Order Reserved,
    "partition" Partition Type,
    "password" Password Type,
    "per" Per Type,
    "permission" Permission Type,
    "permissions" Permissions Type,
    "primary" Primary Reserved,
    "rename" Rename Reserved,
    "replace" Replace Type,
    "returns" Returns Type,
    "revoke" Revoke Reserved,
    "role" Role Type,
    "roles" Roles Type,
    "schema" Schema Reserved,
    "select" Select Reserved,
    "select_masked" SelectMasked Type,
    "set" Set Reserved,
    "sfunc" Sfunc Type,
    "smallint" Smallint Function,
    "static" Static Type,
    "storage" Storage Type,
    "stype" Stype Type,
    "superuser" Superuser Type,
    "table" Table Reserved,
    "tables" Tables Type,
    "text" Text Function,
    "time" Time Function,
    "timestamp" Timestamp Function,
    "timeuuid" Timeuuid Function,
    "tinyint" Tinyint Function,
    "to" To Reserved,
    "token" Token Reserved,
    "trigger" Trigger Type,
    "truncate" Truncate Reserved,
    "ttl" Ttl Identifier,
    "tuple" Tuple Type,
    "type" Type Type,
    "types" Types Type,
    "unlogged" Unlogged Reserved,
    "unmask" Unmask Type,
    "unset" Unset Type,
    "update" Update Reserved,
    "use" Use Reserved,
    "user" User Type,
    "users" Users Type,
    "using" Using Reserved,
    "uuid" Uuid Function,
    "values" Values Type,
    "varchar" Varchar Function,
    "varint" Varint Function,
    "vector" Vector Type,
    "view" View Reserved,
    "where" Where Reserved,
    "with" With Reserved,
    "writetime" Writetime Identifier,
}

/// A word in lower case as one number, first letter highest: numbers compare as words do, and in one step.
const fn pack(word: &[u8]) -> u128 {
    let mut packed = 0;
    let mut at = 0;
    while at < word.len() {
        packed |= (word[at].to_ascii_lowercase() as u128) << (120 - 8 * at);
        at += 1;
    }
    packed
}

/// [`KEYWORDS`] packed. Looking up words would otherwise be half of all the work of parsing.
const PACKED: [u128; KEYWORDS.len()] = {
    let mut packed = [0; KEYWORDS.len()];
    let mut at = 0;
    while at < KEYWORDS.len() {
        packed[at] = pack(KEYWORDS[at].0.as_bytes());
        at += 1;
    }
    packed
};

/// Where the words with each first letter begin in [`KEYWORDS`], and where the last ones end.
const FIRST: [u8; 27] = {
    let mut first = [0; 27];
    let mut letter = 0;
    while letter < first.len() {
        let mut at = 0;
        while at < KEYWORDS.len() && KEYWORDS[at].0.as_bytes()[0] < b'a' + letter as u8 {
            at += 1;
        }
        first[letter] = at as u8;
        letter += 1;
    }
    first
};

impl Keyword {
    /// The keyword a word is, whatever its case.
    pub(crate) fn find(word: &str) -> Option<Keyword> {
        let letter = word.as_bytes().first()?.to_ascii_lowercase();
        if word.len() > KEYWORD_LETTERS_MAX || !letter.is_ascii_lowercase() {
            return None;
        }
        let packed = pack(word.as_bytes());
        let letter = usize::from(letter - b'a');
        let (start, end) = (usize::from(FIRST[letter]), usize::from(FIRST[letter + 1]));
        if let Some(at) = PACKED[start..end].iter().position(|other| *other == packed) {
            return Some(KEYWORDS[start + at].1);
        }
        let found = SYNONYMS
            .iter()
            .find(|(text, _)| text.eq_ignore_ascii_case(word));
        found.map(|(_, keyword)| *keyword)
    }

    pub(crate) fn reach(self) -> Reach {
        KEYWORDS[self as usize].2
    }

    /// In lower case.
    pub(crate) fn text(self) -> &'static str {
        KEYWORDS[self as usize].0
    }

    /// As error messages call it. Some names are older than the word: applications match on them.
    pub(crate) fn token_name(self) -> String {
        match self {
            Keyword::Table => "K_COLUMNFAMILY".into(),
            Keyword::Nan => "K_POSITIVE_NAN".into(),
            Keyword::Infinity => "K_POSITIVE_INFINITY".into(),
            other => format!("K_{}", other.text().to_ascii_uppercase()),
        }
    }
}

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Keyword(Keyword),
    /// `-NaN`
    NegativeNan,
    /// `-Infinity`
    NegativeInfinity,
    Ident,
    QuotedName,
    /// `""`: the column name that old super columns left behind.
    EmptyQuotedName,
    String,
    Integer,
    Float,
    Boolean,
    Duration,
    Uuid,
    Hex,
    QuestionMark,
    /// `..`
    Range,
    /// `expr(`, which is one token.
    Expr,
    /// Punctuation by its text.
    Symbol(&'static str),
    End,
}

impl Kind {
    /// As error messages call it behind "expecting".
    pub(crate) fn token_name(self) -> String {
        match self {
            Kind::Keyword(keyword) => keyword.token_name(),
            Kind::NegativeNan => "K_NEGATIVE_NAN".into(),
            Kind::NegativeInfinity => "K_NEGATIVE_INFINITY".into(),
            Kind::Ident => "IDENT".into(),
            Kind::QuotedName => "QUOTED_NAME".into(),
            Kind::EmptyQuotedName => "EMPTY_QUOTED_NAME".into(),
            Kind::String => "STRING_LITERAL".into(),
            Kind::Integer => "INTEGER".into(),
            Kind::Float => "FLOAT".into(),
            Kind::Boolean => "BOOLEAN".into(),
            Kind::Duration => "DURATION".into(),
            Kind::Uuid => "UUID".into(),
            Kind::Hex => "HEXNUMBER".into(),
            Kind::QuestionMark => "QMARK".into(),
            Kind::Range => "RANGE".into(),
            Kind::Expr => "'expr('".into(),
            Kind::Symbol(text) => format!("'{text}'"),
            Kind::End => "EOF".into(),
        }
    }
}

/// One token: its kind and where it stands, in bytes. Lines and columns are counted only when an error needs them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Token {
    pub kind: Kind,
    pub start: u32,
    pub end: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keywords_are_sorted_and_found_by_any_case() {
        for pair in KEYWORDS.windows(2) {
            assert!(pair[0].0 < pair[1].0, "{} before {}", pair[0].0, pair[1].0);
        }
        for (at, (text, keyword, _)) in KEYWORDS.iter().enumerate() {
            assert_eq!(*keyword as usize, at);
            assert!(text.len() <= KEYWORD_LETTERS_MAX);
            assert_eq!(Keyword::find(&text.to_ascii_uppercase()), Some(*keyword));
        }
        assert_eq!(Keyword::find("ColumnFamily"), Some(Keyword::Table));
        assert_eq!(Keyword::find("between"), None);
    }
}
