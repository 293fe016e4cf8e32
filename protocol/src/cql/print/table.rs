//! CREATE, ALTER, DROP and RESTORE TABLE.

use std::fmt::{self, Display, Formatter};

use super::schema::{IF_EXISTS, IF_NOT_EXISTS, Map, write_properties, write_renames};
use super::{Commas, FunctionName, when, write_separated};
use crate::cql::ast::{
    AlterTable, AlterTableAction, AlterView, ColumnDefinition, CopyTable, CreateTable, Direction,
    DropTable, Mask, PrimaryKey, RestoreTable, TableOption,
};

impl Display for CreateTable {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let guard = when(self.if_not_exists, IF_NOT_EXISTS);
        write!(f, "CREATE TABLE {guard}{} (", self.table)?;
        Commas(&self.columns).fmt(f)?;
        for (number, primary_key) in self.primary_keys.iter().enumerate() {
            let first = self.columns.is_empty() && number == 0;
            write!(f, "{}{primary_key}", when(!first, ", "))?;
        }
        f.write_str(")")?;
        write_options(f, &self.options)
    }
}

impl Display for ColumnDefinition {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.of)?;
        f.write_str(when(self.is_static, " STATIC"))?;
        if let Some(mask) = &self.mask {
            write!(f, " {mask}")?;
        }
        f.write_str(when(self.primary_key, " PRIMARY KEY"))
    }
}

impl Display for Mask {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Mask::Default => f.write_str("MASKED WITH DEFAULT"),
            Mask::Function { name, arguments } => {
                let name = FunctionName(name);
                write!(f, "MASKED WITH {name}({})", Commas(arguments))
            }
        }
    }
}

impl Display for PrimaryKey {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("PRIMARY KEY (")?;
        match self.partition.as_slice() {
            [single] => single.fmt(f)?,
            several => write!(f, "({})", Commas(several))?,
        }
        for column in &self.clustering {
            write!(f, ", {column}")?;
        }
        f.write_str(")")
    }
}

/// ` WITH a = 1 AND CLUSTERING ORDER BY (c DESC)`, or nothing.
pub(super) fn write_options(f: &mut Formatter<'_>, options: &[TableOption]) -> fmt::Result {
    if options.is_empty() {
        return Ok(());
    }
    f.write_str(" WITH ")?;
    write_separated(f, options, " AND ", |option, f| option.fmt(f))
}

impl Display for TableOption {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            TableOption::Property(property) => property.fmt(f),
            TableOption::CompactStorage => f.write_str("COMPACT STORAGE"),
            TableOption::ClusteringOrder(columns) => {
                f.write_str("CLUSTERING ORDER BY (")?;
                write_separated(f, columns, ", ", |(column, direction), f| match direction {
                    Direction::Ascending => write!(f, "{column} ASC"),
                    Direction::Descending => write!(f, "{column} DESC"),
                })?;
                f.write_str(")")
            }
            TableOption::Indexes => f.write_str("INDEXES"),
        }
    }
}

impl Display for CopyTable {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let guard = when(self.if_not_exists, IF_NOT_EXISTS);
        write!(
            f,
            "CREATE TABLE {guard}{} LIKE {}",
            self.target, self.source
        )?;
        write_options(f, &self.options)
    }
}

impl Display for AlterTable {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let guard = when(self.if_exists, IF_EXISTS);
        write!(f, "ALTER TABLE {guard}{}{}", self.table, self.action)
    }
}

/// With a blank before it.
impl Display for AlterTableAction {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            AlterTableAction::AlterType { column, to } => write!(f, " ALTER {column} TYPE {to}"),
            AlterTableAction::Mask {
                if_exists,
                column,
                mask,
            } => {
                write!(f, " ALTER {}{column} ", when(*if_exists, IF_EXISTS))?;
                match mask {
                    Some(mask) => mask.fmt(f),
                    None => f.write_str("DROP MASKED"),
                }
            }
            AlterTableAction::Add {
                if_not_exists,
                columns,
            } => {
                let guard = when(*if_not_exists, IF_NOT_EXISTS);
                match columns.as_slice() {
                    [single] => write!(f, " ADD {guard}{single}"),
                    several => write!(f, " ADD {guard}({})", Commas(several)),
                }
            }
            AlterTableAction::Drop {
                if_exists,
                columns,
                timestamp,
            } => {
                let guard = when(*if_exists, IF_EXISTS);
                write!(f, " DROP {guard}({})", Commas(columns))?;
                match timestamp {
                    Some(micros) => write!(f, " USING TIMESTAMP {micros}"),
                    None => Ok(()),
                }
            }
            AlterTableAction::Rename { if_exists, renames } => {
                write!(f, " RENAME {}", when(*if_exists, IF_EXISTS))?;
                write_renames(f, renames)
            }
            AlterTableAction::DropCompactStorage => f.write_str(" DROP COMPACT STORAGE"),
            AlterTableAction::With(properties) => write_properties(f, properties),
            AlterTableAction::AddTags(tags) => write!(f, " ADD TAGS {}", Map(tags)),
            AlterTableAction::DropTags(tags) => write!(f, " DROP TAGS {}", Map(tags)),
        }
    }
}

impl Display for DropTable {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let guard = when(self.if_exists, IF_EXISTS);
        write!(f, "DROP TABLE {guard}{}", self.table)
    }
}

impl Display for RestoreTable {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "RESTORE TABLE {} FROM TABLE {}",
            self.target, self.source
        )?;
        write_properties(f, &self.properties)
    }
}

impl Display for AlterView {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let guard = when(self.if_exists, IF_EXISTS);
        write!(f, "ALTER MATERIALIZED VIEW {guard}{}", self.view)?;
        write_properties(f, &self.properties)
    }
}
