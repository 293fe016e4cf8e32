//! What may stand behind a name, a type or a term, anywhere in the grammar.
//!
//! Cassandra's parser decides some choices by the token behind the first one: whether `a` is a keyspace or a table shows
//! only with the dot. If that second token can follow in no place of the whole grammar, the choice itself fails, with
//! "no viable alternative" and the bracket at the first token. Else the choice is made, and the rule that wanted
//! something else complains later with "mismatched input". Applications match on these texts, so the sets are here.
//! They decide wording only: what is accepted does not depend on them, because each holds all that may follow.

use super::{Keyword as K, Kind, Parser, Reach, Result};

impl Parser<'_> {
    /// Fails the choice begun at the token before this one if this one may not follow.
    pub(super) fn check_follow(&mut self, follows: impl FnOnce(&mut Self) -> bool) -> Result<()> {
        if follows(self) {
            self.look(1);
            return Ok(());
        }
        self.no_viable_from(self.at - 1)
    }

    pub(super) fn follows_statement(&self) -> bool {
        matches!(self.kind(), Kind::End | Kind::Symbol(";"))
    }

    pub(super) fn follows_table(&mut self) -> bool {
        self.follows_statement()
            || matches!(
                self.kind(),
                Kind::Symbol("(")
                    | Kind::Keyword(
                        K::Where
                            | K::Group
                            | K::Order
                            | K::Per
                            | K::Limit
                            | K::Allow
                            | K::Using
                            | K::Set
                            | K::Json
                            | K::As
                            | K::Primary
                            | K::With
                            | K::Alter
                            | K::Add
                            | K::Drop
                            | K::Rename
                            | K::To
                            | K::From
                            | K::Of
                            | K::Norecursive
                            | K::Like
                    )
            )
    }

    /// Behind a type that is one keyword or one name.
    pub(super) fn follows_type(&self) -> bool {
        self.follows_statement()
            || matches!(
                self.kind(),
                Kind::Symbol("," | ")" | ">" | "(")
                    | Kind::Keyword(
                        K::Static
                            | K::Masked
                            | K::Primary
                            | K::Language
                            | K::Finalfunc
                            | K::Initcond
                            | K::With
                            | K::Alter
                            | K::Add
                            | K::Rename
                    )
            )
    }

    pub(super) fn follows_function_name(&self) -> bool {
        self.follows_statement()
            || matches!(self.kind(), Kind::Symbol("(") | Kind::Keyword(K::With))
    }

    pub(super) fn follows_term(&mut self) -> bool {
        if self.follows_statement() || self.is_word(0, "between") {
            return true;
        }
        matches!(
            self.kind(),
            Kind::Range
                | Kind::Symbol("," | ")" | "]" | "}" | ":" | "+")
                | Kind::Keyword(
                    K::And
                        | K::If
                        | K::Where
                        | K::Group
                        | K::Order
                        | K::Per
                        | K::Limit
                        | K::Allow
                        | K::Insert
                        | K::Update
                        | K::Delete
                        | K::Apply
                        | K::Primary
                        | K::Asc
                        | K::Desc
                )
        )
    }

    /// Behind the smallest terms, operators may follow too.
    pub(super) fn follows_simple_term(&mut self) -> bool {
        matches!(
            self.kind(),
            Kind::Symbol("-" | "*" | "/" | "%") | Kind::Keyword(K::As)
        ) || self.follows_term()
    }

    /// Behind a column or a literal in a selection.
    pub(super) fn follows_selectable(&self) -> bool {
        self.follows_statement()
            || matches!(
                self.kind(),
                Kind::Symbol("," | ")" | "]" | "}" | ":" | "+" | "-" | "*" | "/" | "%" | "." | "[")
                    | Kind::Keyword(K::As | K::From | K::Order | K::Per | K::Limit | K::Allow)
            )
    }

    /// Whether a term may start here, as far as one token tells.
    pub(super) fn starts_term(&self) -> bool {
        let kind = self.kind();
        kind == Kind::Symbol("-") || Self::starts_selectable(kind)
    }

    /// Whether a type may start here.
    pub(super) fn starts_type(&self) -> bool {
        self.is_name() || matches!(self.kind(), Kind::String | Kind::Keyword(K::Set))
    }

    /// Whether a value of a property may start here.
    pub(super) fn starts_property_value(&self) -> bool {
        match self.kind() {
            Kind::String
            | Kind::Integer
            | Kind::Float
            | Kind::Boolean
            | Kind::Duration
            | Kind::Uuid
            | Kind::Hex
            | Kind::NegativeNan
            | Kind::NegativeInfinity
            | Kind::Symbol("{")
            | Kind::Keyword(K::Nan | K::Infinity) => true,
            Kind::Keyword(keyword) => keyword.reach() >= Reach::Identifier,
            _ => false,
        }
    }
}
