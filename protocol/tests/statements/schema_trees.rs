//! Generated trees of schema, role and permission statements.

use std::collections::BTreeSet;

use palladium_protocol::cql::Statement;
use palladium_protocol::cql::ast::{
    AddIdentity, AlterKeyspace, AlterRole, AlterTable, AlterTableAction, AlterType,
    AlterTypeAction, AlterUser, AlterView, ColumnDefinition, CopyTable, CreateAggregate,
    CreateFunction, CreateIndex, CreateKeyspace, CreateRole, CreateTable, CreateTrigger,
    CreateType, CreateUser, CreateView, DropAggregate, DropFunction, DropIdentity, DropIndex,
    DropKeyspace, DropRole, DropTable, DropTrigger, DropType, DropUser, DropView,
    FunctionSignature, Grant, GrantRole, IndexTarget, IndexTargetKind, KeyspaceAction,
    ListPermissions, ListRoles, Literal, Mask, Name, Password, Permission, Permissions, PrimaryKey,
    Property, PropertyMap, PropertyValue, Resource, RestoreTable, Revoke, RevokeRole, RoleOption,
    TableOption, UserPassword,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::trees::{
    column, constant, direction, ident, of_type, qualified, relations, selection, term,
};

fn flag() -> BoxedStrategy<bool> {
    any::<bool>().boxed()
}

/// Entries with keys that differ.
fn map_of(value: BoxedStrategy<PropertyValue>) -> BoxedStrategy<PropertyMap> {
    vec(("[a-z' ]{0,5}", value), 0..4)
        .prop_map(|entries| {
            let mut seen = BTreeSet::new();
            entries
                .into_iter()
                .filter(|(key, _)| seen.insert(key.clone()))
                .map(|(key, value)| (Literal::String(key), value))
                .collect()
        })
        .boxed()
}

fn flat_map() -> BoxedStrategy<PropertyMap> {
    map_of(constant().prop_map(PropertyValue::Literal).boxed()).boxed()
}

/// A name and its value; maps of maps for the one that may have them.
fn property() -> BoxedStrategy<Property> {
    let literal = constant().prop_map(PropertyValue::Literal).boxed();
    let nested = literal.clone().prop_recursive(3, 12, 4, |inner| {
        map_of(inner.boxed()).prop_map(PropertyValue::Map)
    });
    let words = ["all", "default", "text", "ttl", "key"];
    let value = prop_oneof![
        2 => literal,
        2 => flat_map().prop_map(PropertyValue::Map),
        1 => select(words.to_vec()).prop_map(|word| PropertyValue::Word(word.into())),
    ];
    prop_oneof![
        4 => (ident(), value),
        1 => (Just(Name::exact("custom_properties")), nested),
    ]
    .prop_map(|(name, value)| Property { name, value })
    .boxed()
}

/// Properties with names that differ.
fn properties(least: usize) -> BoxedStrategy<Vec<Property>> {
    vec(property(), least..4)
        .prop_map(|all| {
            let mut kept: Vec<Property> = Vec::new();
            for property in all {
                if kept.iter().all(|other| other.name != property.name) {
                    kept.push(property);
                }
            }
            kept
        })
        .boxed()
}

fn table_options() -> BoxedStrategy<Vec<TableOption>> {
    let order = option::of(vec((ident(), direction()), 1..3));
    (properties(0), order)
        .prop_map(|(properties, order)| {
            let mut options: Vec<TableOption> =
                properties.into_iter().map(TableOption::Property).collect();
            options.extend(order.map(TableOption::ClusteringOrder));
            options
        })
        .boxed()
}

fn mask() -> BoxedStrategy<Mask> {
    prop_oneof![
        Just(Mask::Default),
        (qualified(), vec(term(), 0..3))
            .prop_map(|(name, arguments)| Mask::Function { name, arguments }),
    ]
    .boxed()
}

fn column_definition(key: bool) -> BoxedStrategy<ColumnDefinition> {
    (ident(), of_type(), flag(), option::of(mask()), flag())
        .prop_map(
            move |(name, of, is_static, mask, primary_key)| ColumnDefinition {
                name,
                of,
                is_static,
                mask,
                primary_key: primary_key && key,
            },
        )
        .boxed()
}

fn primary_key() -> BoxedStrategy<PrimaryKey> {
    (vec(ident(), 1..3), vec(ident(), 0..3))
        .prop_map(|(partition, clustering)| PrimaryKey {
            partition,
            clustering,
        })
        .boxed()
}

fn renames() -> BoxedStrategy<Vec<(Name, Name)>> {
    vec((ident(), ident()), 1..3).boxed()
}

fn table_statement() -> BoxedStrategy<Statement> {
    let create = (
        flag(),
        qualified(),
        vec(column_definition(true), 1..4),
        vec(primary_key(), 0..2),
        table_options(),
        flag(),
    )
        .prop_map(
            |(if_not_exists, table, columns, primary_keys, mut options, compact)| {
                if compact {
                    options.push(TableOption::CompactStorage);
                }
                Statement::CreateTable(CreateTable {
                    if_not_exists,
                    table,
                    columns,
                    primary_keys,
                    options,
                })
            },
        );
    let copy = (flag(), qualified(), qualified(), properties(0), flag()).prop_map(
        |(if_not_exists, target, source, properties, indexes)| {
            let mut options: Vec<TableOption> =
                properties.into_iter().map(TableOption::Property).collect();
            if indexes {
                options.push(TableOption::Indexes);
            }
            Statement::CopyTable(CopyTable {
                if_not_exists,
                target,
                source,
                options,
            })
        },
    );
    let restore =
        (qualified(), qualified(), properties(0)).prop_map(|(target, source, properties)| {
            Statement::RestoreTable(RestoreTable {
                target,
                source,
                properties,
            })
        });
    let alter = (flag(), qualified(), table_action()).prop_map(|(if_exists, table, action)| {
        Statement::AlterTable(AlterTable {
            if_exists,
            table,
            action,
        })
    });
    let drop = (flag(), qualified())
        .prop_map(|(if_exists, table)| Statement::DropTable(DropTable { if_exists, table }));
    prop_oneof![3 => create, 1 => copy, 1 => restore, 3 => alter, 1 => drop].boxed()
}

fn table_action() -> BoxedStrategy<AlterTableAction> {
    use AlterTableAction as Action;
    prop_oneof![
        (column(), of_type()).prop_map(|(column, to)| Action::AlterType { column, to }),
        (flag(), column(), option::of(mask())).prop_map(|(if_exists, column, mask)| {
            Action::Mask {
                if_exists,
                column,
                mask,
            }
        }),
        (flag(), vec(column_definition(false), 1..3)).prop_map(|(if_not_exists, columns)| {
            Action::Add {
                if_not_exists,
                columns,
            }
        }),
        (flag(), vec(ident(), 1..3), option::of(any::<i64>())).prop_map(
            |(if_exists, columns, timestamp)| Action::Drop {
                if_exists,
                columns,
                timestamp,
            }
        ),
        (flag(), renames()).prop_map(|(if_exists, renames)| Action::Rename { if_exists, renames }),
        Just(Action::DropCompactStorage),
        properties(1).prop_map(Action::With),
        flat_map().prop_map(Action::AddTags),
        flat_map().prop_map(Action::DropTags),
    ]
    .boxed()
}

fn keyspace_statement() -> BoxedStrategy<Statement> {
    let action = prop_oneof![
        properties(1).prop_map(KeyspaceAction::With),
        flat_map().prop_map(KeyspaceAction::AddTags),
        flat_map().prop_map(KeyspaceAction::DropTags),
    ];
    prop_oneof![
        (flag(), ident(), properties(1)).prop_map(|(if_not_exists, keyspace, properties)| {
            Statement::CreateKeyspace(CreateKeyspace {
                if_not_exists,
                keyspace,
                properties,
            })
        }),
        (flag(), ident(), action).prop_map(|(if_exists, keyspace, action)| {
            Statement::AlterKeyspace(AlterKeyspace {
                if_exists,
                keyspace,
                action,
            })
        }),
        (flag(), ident()).prop_map(|(if_exists, keyspace)| {
            Statement::DropKeyspace(DropKeyspace {
                if_exists,
                keyspace,
            })
        }),
    ]
    .boxed()
}

fn type_statement() -> BoxedStrategy<Statement> {
    let action = prop_oneof![
        (ident(), of_type()).prop_map(|(field, to)| AlterTypeAction::Alter { field, to }),
        (flag(), ident(), of_type()).prop_map(|(if_not_exists, field, of)| {
            AlterTypeAction::Add {
                if_not_exists,
                field,
                of,
            }
        }),
        (flag(), renames())
            .prop_map(|(if_exists, renames)| AlterTypeAction::Rename { if_exists, renames }),
    ];
    prop_oneof![
        (flag(), qualified(), vec((ident(), of_type()), 1..4)).prop_map(
            |(if_not_exists, name, fields)| Statement::CreateType(CreateType {
                if_not_exists,
                name,
                fields,
            })
        ),
        (flag(), qualified(), action).prop_map(|(if_exists, name, action)| {
            Statement::AlterType(AlterType {
                if_exists,
                name,
                action,
            })
        }),
        (flag(), qualified())
            .prop_map(|(if_exists, name)| Statement::DropType(DropType { if_exists, name })),
    ]
    .boxed()
}

fn index_and_view_statement() -> BoxedStrategy<Statement> {
    use IndexTargetKind::{Entries, Full, Keys, Simple, Values};
    let kind = select([Simple, Values, Keys, Entries, Full].to_vec());
    let target = (kind, column()).prop_map(|(kind, column)| IndexTarget { kind, column });
    prop_oneof![
        (
            (flag(), flag(), option::of(ident())),
            qualified(),
            vec(target, 0..3),
            option::of("[a-z']{0,4}"),
            properties(0)
        )
            .prop_map(|(head, table, targets, class, properties)| {
                Statement::CreateIndex(CreateIndex {
                    custom: head.0,
                    if_not_exists: head.1,
                    name: head.2,
                    table,
                    targets,
                    class,
                    properties,
                })
            }),
        (flag(), qualified())
            .prop_map(|(if_exists, name)| Statement::DropIndex(DropIndex { if_exists, name })),
        (
            (flag(), qualified()),
            selection(),
            qualified(),
            relations(0),
            primary_key(),
            table_options()
        )
            .prop_map(
                |(head, selection, table, relations, primary_key, options)| {
                    Statement::CreateView(CreateView {
                        has_markers: format!("{selection:?}{relations:?}").contains("Marker("),
                        if_not_exists: head.0,
                        view: head.1,
                        selection,
                        table,
                        relations,
                        primary_key,
                        options,
                    })
                }
            ),
        (flag(), qualified(), properties(1)).prop_map(|(if_exists, view, properties)| {
            Statement::AlterView(AlterView {
                if_exists,
                view,
                properties,
            })
        }),
        (flag(), qualified())
            .prop_map(|(if_exists, view)| Statement::DropView(DropView { if_exists, view })),
    ]
    .boxed()
}

fn function_statement() -> BoxedStrategy<Statement> {
    let types = || vec(of_type(), 0..3);
    prop_oneof![
        (
            (flag(), flag(), qualified()),
            vec((ident(), of_type()), 0..3),
            flag(),
            of_type(),
            any::<String>()
        )
            .prop_map(|(head, arguments, called_on_null, returns, body)| {
                Statement::CreateFunction(CreateFunction {
                    or_replace: head.0,
                    if_not_exists: head.1,
                    name: head.2,
                    arguments,
                    called_on_null,
                    returns,
                    language: "java".into(),
                    body,
                })
            }),
        (flag(), qualified(), option::of(types())).prop_map(|(if_exists, name, arguments)| {
            Statement::DropFunction(DropFunction {
                if_exists,
                name,
                arguments,
            })
        }),
        (
            (flag(), flag(), qualified()),
            types(),
            ident(),
            of_type(),
            option::of(ident()),
            option::of(term())
        )
            .prop_map(
                |(head, arguments, state_function, state_type, final_function, initial)| {
                    Statement::CreateAggregate(CreateAggregate {
                        or_replace: head.0,
                        if_not_exists: head.1,
                        name: head.2,
                        arguments,
                        state_function,
                        state_type,
                        final_function,
                        initial,
                    })
                }
            ),
        (flag(), qualified(), option::of(types())).prop_map(|(if_exists, name, arguments)| {
            Statement::DropAggregate(DropAggregate {
                if_exists,
                name,
                arguments,
            })
        }),
        (flag(), ident(), qualified(), "[a-z']{0,4}").prop_map(
            |(if_not_exists, name, table, class)| Statement::CreateTrigger(CreateTrigger {
                if_not_exists,
                name,
                table,
                class,
            })
        ),
        (flag(), ident(), qualified()).prop_map(|(if_exists, name, table)| {
            Statement::DropTrigger(DropTrigger {
                if_exists,
                name,
                table,
            })
        }),
    ]
    .boxed()
}

fn password() -> BoxedStrategy<Password> {
    any::<String>()
        .prop_map(|text| Password(text.into()))
        .boxed()
}

fn role_options() -> BoxedStrategy<Vec<RoleOption>> {
    let secret = prop_oneof![
        password().prop_map(RoleOption::Password),
        password().prop_map(RoleOption::HashedPassword),
    ];
    let access = prop_oneof![
        Just(RoleOption::AllDatacenters),
        vec("[a-z']{0,3}", 1..3).prop_map(RoleOption::Datacenters),
        Just(RoleOption::AllCidrs),
        vec("[a-z']{0,3}", 1..3).prop_map(RoleOption::Cidrs),
    ];
    (
        option::of(secret),
        option::of(flag().prop_map(RoleOption::Superuser)),
        option::of(flag().prop_map(RoleOption::Login)),
        option::of(flat_map().prop_map(RoleOption::Options)),
        vec(access, 0..3),
    )
        .prop_map(|(secret, superuser, login, options, access)| {
            let single = [secret, superuser, login, options];
            single.into_iter().flatten().chain(access).collect()
        })
        .boxed()
}

fn user_password() -> BoxedStrategy<Option<UserPassword>> {
    option::of(prop_oneof![
        password().prop_map(UserPassword::Plain),
        password().prop_map(UserPassword::Hashed),
    ])
    .boxed()
}

fn role_statement() -> BoxedStrategy<Statement> {
    let any_name = || any::<String>().prop_map(Name::exact);
    prop_oneof![
        (flag(), column(), role_options()).prop_map(|(if_not_exists, role, options)| {
            Statement::CreateRole(CreateRole {
                if_not_exists,
                role,
                options,
            })
        }),
        (flag(), column(), role_options()).prop_map(|(if_exists, role, options)| {
            Statement::AlterRole(AlterRole {
                if_exists,
                role,
                options,
            })
        }),
        (flag(), column())
            .prop_map(|(if_exists, role)| Statement::DropRole(DropRole { if_exists, role })),
        (flag(), any_name(), user_password(), flag()).prop_map(
            |(if_not_exists, user, password, superuser)| Statement::CreateUser(CreateUser {
                if_not_exists,
                user,
                password,
                superuser,
            })
        ),
        (flag(), any_name(), user_password(), option::of(flag())).prop_map(
            |(if_exists, user, password, superuser)| Statement::AlterUser(AlterUser {
                if_exists,
                user,
                password,
                superuser,
            })
        ),
        (flag(), any_name())
            .prop_map(|(if_exists, user)| Statement::DropUser(DropUser { if_exists, user })),
        (flag(), any::<String>(), any_name()).prop_map(|(if_not_exists, identity, role)| {
            Statement::AddIdentity(AddIdentity {
                if_not_exists,
                identity,
                role,
            })
        }),
        (flag(), any::<String>()).prop_map(|(if_exists, identity)| {
            Statement::DropIdentity(DropIdentity {
                if_exists,
                identity,
            })
        }),
        (column(), column())
            .prop_map(|(role, grantee)| Statement::GrantRole(GrantRole { role, grantee })),
        (column(), column())
            .prop_map(|(role, revokee)| Statement::RevokeRole(RevokeRole { role, revokee })),
        (option::of(column()), flag())
            .prop_map(|(role, recursive)| Statement::ListRoles(ListRoles { role, recursive })),
        Just(Statement::ListUsers),
    ]
    .boxed()
}

fn permissions() -> BoxedStrategy<Permissions> {
    let all = [
        Permission::Create,
        Permission::Alter,
        Permission::Drop,
        Permission::Select,
        Permission::Modify,
        Permission::Authorize,
        Permission::Describe,
        Permission::Execute,
        Permission::Unmask,
        Permission::SelectMasked,
        Permission::Use,
    ];
    prop_oneof![
        1 => Just(Permissions::All),
        3 => subsequence(all.to_vec(), 1..4).prop_shuffle().prop_map(Permissions::Some),
    ]
    .boxed()
}

fn resource() -> BoxedStrategy<Resource> {
    prop_oneof![
        Just(Resource::AllKeyspaces),
        ident().prop_map(Resource::Keyspace),
        ident().prop_map(Resource::AllTables),
        qualified().prop_map(Resource::Table),
        Just(Resource::AllRoles),
        column().prop_map(Resource::Role),
        Just(Resource::AllFunctions),
        ident().prop_map(Resource::KeyspaceFunctions),
        (qualified(), vec(of_type(), 0..3)).prop_map(|(name, arguments)| {
            Resource::Function(FunctionSignature { name, arguments })
        }),
        Just(Resource::AllMbeans),
        "[a-z.]{0,5}:[a-z]{1,3}=[a-z']{0,3}".prop_map(Resource::Mbean),
        "[a-z.]{0,5}:[a-z]{1,3}=[a-z']{0,3},\\*".prop_map(Resource::Mbeans),
        Just(Resource::AllKeys),
        any::<String>().prop_map(Resource::Key),
    ]
    .boxed()
}

fn permission_statement() -> BoxedStrategy<Statement> {
    let applicable = || {
        (permissions(), resource()).prop_map(|(permissions, resource)| {
            let fits = match &permissions {
                Permissions::All => true,
                Permissions::Some(some) => some.iter().any(|p| resource.applicable(*p)),
            };
            let permissions = if fits { permissions } else { Permissions::All };
            (permissions, resource)
        })
    };
    prop_oneof![
        (applicable(), column()).prop_map(|((permissions, resource), role)| {
            Statement::Grant(Grant {
                permissions,
                resource,
                role,
            })
        }),
        (applicable(), column()).prop_map(|((permissions, resource), role)| {
            Statement::Revoke(Revoke {
                permissions,
                resource,
                role,
            })
        }),
        (
            permissions(),
            option::of(resource()),
            option::of(column()),
            flag()
        )
            .prop_map(|(permissions, resource, role, recursive)| {
                Statement::ListPermissions(ListPermissions {
                    permissions,
                    resource,
                    role,
                    recursive,
                })
            }),
    ]
    .boxed()
}

pub fn statement() -> BoxedStrategy<Statement> {
    prop_oneof![
        3 => table_statement(),
        1 => keyspace_statement(),
        2 => type_statement(),
        2 => index_and_view_statement(),
        2 => function_statement(),
        2 => role_statement(),
        2 => permission_statement(),
    ]
    .boxed()
}
