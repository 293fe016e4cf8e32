//! Schemas: a few user-defined types and one or two tables, with every kind of key, order and column.

use std::rc::Rc;

use super::types::{self, Type, UserType};
use crate::chance::Chance;

/// What a column is to its table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Partition,
    Clustering,
    Static,
    Regular,
}

#[derive(Debug, Clone)]
pub struct Column {
    pub name: String,
    pub ty: Type,
    pub role: Role,
    /// Of a clustering column: its order is turned around.
    pub descending: bool,
    /// What is shown in its place to those who may not see it.
    pub mask: Option<String>,
}

/// How cells of a table get their timestamps, which decides what may be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    /// Each write says its own, from so few that they meet; `writetime` can be compared.
    Explicit,
    /// The servers' own clocks.
    Server,
    /// The same, and conditions: plain writes bear a timestamp older than all of them, so that none of them hangs on a millisecond.
    Conditional,
    /// A table of counters.
    Counter,
}

#[derive(Debug, Clone)]
pub struct Table {
    pub name: String,
    pub columns: Vec<Column>,
    pub clock: Clock,
    /// Values live for seconds of the moments that statements bring.
    pub expiring: bool,
    /// Options after WITH.
    pub options: Vec<String>,
}

impl Table {
    pub fn of(&self, role: Role) -> impl Iterator<Item = &Column> {
        self.columns
            .iter()
            .filter(move |column| column.role == role)
    }

    /// The statement that makes it.
    pub fn create(&self) -> String {
        let mut parts: Vec<String> = self
            .columns
            .iter()
            .map(|column| {
                let suffix = if column.role == Role::Static {
                    " static"
                } else {
                    ""
                };
                let mask = match &column.mask {
                    Some(mask) => format!(" MASKED WITH {mask}"),
                    None => String::new(),
                };
                format!("{} {}{suffix}{mask}", column.name, column.ty)
            })
            .collect();
        let names =
            |role| -> Vec<&str> { self.of(role).map(|column| column.name.as_str()).collect() };
        let partition = match names(Role::Partition).as_slice() {
            [one] => (*one).to_owned(),
            several => format!("({})", several.join(", ")),
        };
        let key: Vec<String> = [partition]
            .into_iter()
            .chain(names(Role::Clustering).into_iter().map(str::to_owned))
            .collect();
        parts.push(format!("PRIMARY KEY ({})", key.join(", ")));
        let mut options = self.options.clone();
        if self.of(Role::Clustering).any(|column| column.descending) {
            let orders: Vec<String> = self
                .of(Role::Clustering)
                .map(|column| {
                    let order = if column.descending { "DESC" } else { "ASC" };
                    format!("{} {order}", column.name)
                })
                .collect();
            options.insert(0, format!("CLUSTERING ORDER BY ({})", orders.join(", ")));
        }
        let options = match options.as_slice() {
            [] => String::new(),
            some => format!(" WITH {}", some.join(" AND ")),
        };
        format!("CREATE TABLE {} ({}){options}", self.name, parts.join(", "))
    }
}

/// The user-defined types of a block; a later one may hold an earlier one.
pub fn user_types(chance: &mut Chance) -> Vec<Rc<UserType>> {
    let mut users: Vec<Rc<UserType>> = Vec::new();
    for number in 0..chance.below(3) {
        let fields = (0..1 + chance.below(3))
            .map(|place| {
                let ty = match types::regular(chance, &users) {
                    // A type inside of a type is frozen, and so are its collections here: what is not, is asked for in `wrong`.
                    ty if ty.is_multicell() => Type::Frozen(Box::new(ty)),
                    ty => ty,
                };
                (format!("f{place}"), ty)
            })
            .collect();
        users.push(Rc::new(UserType {
            name: format!("u{number}"),
            fields,
        }));
    }
    users
}

/// The statement that makes a type.
pub fn create_type(user: &UserType) -> String {
    let fields: Vec<String> = user
        .fields
        .iter()
        .map(|(name, ty)| format!("{name} {ty}"))
        .collect();
    format!("CREATE TYPE {} ({})", user.name, fields.join(", "))
}

/// A table.
pub fn table(chance: &mut Chance, users: &[Rc<UserType>], number: usize, expiring: bool) -> Table {
    let clock = match chance.below(10) {
        0 => Clock::Counter,
        1..=2 => Clock::Conditional,
        3 => Clock::Server,
        _ => Clock::Explicit,
    };
    let mut columns = Vec::new();
    let add = |columns: &mut Vec<Column>,
               prefix: &str,
               place: usize,
               ty: Type,
               role: Role,
               descending: bool| {
        columns.push(Column {
            name: format!("{prefix}{place}"),
            ty,
            role,
            descending,
            mask: None,
        });
    };
    for place in 0..1 + usize::from(chance.below(3) == 0) {
        add(
            &mut columns,
            "p",
            place,
            types::key(chance, users),
            Role::Partition,
            false,
        );
    }
    let clusterings = [0, 1, 1, 2, 2, 3][chance.below(6)];
    for place in 0..clusterings {
        let descending = chance.below(3) == 0;
        add(
            &mut columns,
            "c",
            place,
            types::key(chance, users),
            Role::Clustering,
            descending,
        );
    }
    let counter = clock == Clock::Counter;
    let other = |chance: &mut Chance| match counter {
        true => Type::Native("counter"),
        false => types::regular(chance, users),
    };
    if clusterings > 0 {
        for place in 0..chance.below(3) {
            add(&mut columns, "s", place, other(chance), Role::Static, false);
        }
    }
    for place in 0..usize::from(counter) + chance.below(if counter { 2 } else { 6 }) {
        add(
            &mut columns,
            "v",
            place,
            other(chance),
            Role::Regular,
            false,
        );
    }
    if counter && columns.iter().all(|column| column.role != Role::Regular) {
        add(
            &mut columns,
            "v",
            0,
            Type::Native("counter"),
            Role::Regular,
            false,
        );
    }
    let mut options = Vec::new();
    if expiring && !counter && chance.below(3) == 0 {
        options.push("default_time_to_live = 10".to_owned());
    }
    Table {
        name: format!("t{number}"),
        columns,
        clock,
        expiring,
        options,
    }
}
