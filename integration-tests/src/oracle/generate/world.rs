//! What there is at one point of a block: types, tables, views and indexes, as they are when every schema statement did what it should.
//!
//! A guess that is wrong costs nothing but sense: what follows meets names that are not there, on both servers.

use std::rc::Rc;

use super::tables::{self, Column, Role, Table};
use super::types::UserType;
use crate::chance::Chance;

/// What a block is about beside writes and reads.
#[derive(Debug, Clone, Copy)]
pub struct Mood {
    pub indexed: bool,
    pub viewed: bool,
    pub altered: bool,
    /// Statements bring their own moment, and values live for seconds.
    pub expiring: bool,
}

impl Mood {
    /// Tables, writes and reads alone.
    pub const CORE: Mood = Mood {
        indexed: false,
        viewed: false,
        altered: false,
        expiring: false,
    };

    pub fn of(chance: &mut Chance) -> Mood {
        Mood {
            indexed: chance.below(2) == 0,
            viewed: chance.below(3) == 0,
            altered: chance.below(3) == 0,
            expiring: chance.below(5) == 0,
        }
    }
}

/// A materialized view: its columns are a table's, in other roles.
#[derive(Debug, Clone)]
pub struct View {
    pub shape: Table,
    pub base: String,
    /// Made by `SELECT *`: it gets what the base gets.
    pub takes_all: bool,
}

/// What of a column an index holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    Simple,
    Values,
    Keys,
    Entries,
    Full,
}

#[derive(Debug, Clone)]
pub struct Index {
    pub name: String,
    pub table: String,
    pub column: String,
    pub target: Target,
    pub is_sai: bool,
}

#[derive(Debug)]
pub struct World {
    pub mood: Mood,
    pub users: Vec<Rc<UserType>>,
    pub tables: Vec<Table>,
    pub views: Vec<View>,
    pub indexes: Vec<Index>,
    /// How many names were given; none is given twice.
    names: usize,
}

impl World {
    pub fn new(chance: &mut Chance, mood: Mood) -> World {
        let users = tables::user_types(chance);
        let tables = (0..1 + chance.below(2))
            .map(|number| tables::table(chance, &users, number, mood.expiring))
            .collect();
        World {
            mood,
            users,
            tables,
            views: Vec::new(),
            indexes: Vec::new(),
            names: 0,
        }
    }

    /// A name that nothing has had.
    pub fn name(&mut self, prefix: &str) -> String {
        self.names += 1;
        format!("{prefix}{}", 10 + self.names)
    }

    pub fn any_table(&self, chance: &mut Chance) -> usize {
        chance.below(self.tables.len())
    }

    pub fn table(&self, name: &str) -> Option<&Table> {
        self.tables.iter().find(|table| table.name == name)
    }

    pub fn has_views(&self, table: &str) -> bool {
        self.views.iter().any(|view| view.base == table)
    }

    pub fn has_index(&self, table: &str, column: &str) -> bool {
        let mut indexes = self.indexes.iter();
        indexes.any(|index| index.table == table && index.column == column)
    }

    /// A column more, also in the views that take all.
    pub fn add_column(&mut self, table: usize, column: &Column) {
        let table = &mut self.tables[table];
        table.columns.push(column.clone());
        for view in &mut self.views {
            if view.base == table.name && view.takes_all && column.role == Role::Regular {
                view.shape.columns.push(column.clone());
            }
        }
    }

    pub fn rename_column(&mut self, table: usize, from: &str, to: &str) {
        let base = self.tables[table].name.clone();
        let views = self.views.iter_mut().filter(|view| view.base == base);
        let shapes = views.map(|view| &mut view.shape);
        for shape in shapes.chain([&mut self.tables[table]]) {
            for column in shape
                .columns
                .iter_mut()
                .filter(|column| column.name == from)
            {
                column.name = to.to_owned();
            }
        }
    }

    /// Another definition of a type, wherever it is used.
    pub fn replace_user(&mut self, number: usize, user: UserType) {
        self.users[number] = Rc::new(user);
        for number in 0..self.users.len() {
            let user = &self.users[number];
            let fields = user
                .fields
                .iter()
                .map(|(name, ty)| (name.clone(), ty.with_users(&self.users)))
                .collect();
            self.users[number] = Rc::new(UserType {
                name: user.name.clone(),
                fields,
            });
        }
        let views = self.views.iter_mut().map(|view| &mut view.shape);
        for table in self.tables.iter_mut().chain(views) {
            for column in &mut table.columns {
                column.ty = column.ty.with_users(&self.users);
            }
        }
    }
}
