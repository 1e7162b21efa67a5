//! Who may do what in the database: the owner, the serving role, the auditor, and nobody more than that.

use secrecy::ExposeSecret;
use stint::audit::AuditStore;
use stint::postgres::{PostgresError, PostgresStore, migrate};

use crate::harness::binary::Site;
use crate::harness::database::{connect, fresh_database, login, migrated, migrations, one, run};
use crate::harness::events::{bare_event, event_of, whole_event};
use crate::harness::months::{month, partition};
use crate::harness::sealer::Sealer;

const DEADLINE: std::time::Duration = std::time::Duration::from_secs(20);

#[tokio::test]
async fn a_member_of_the_serving_role_keeps_a_whole_log_and_starts_without_migrating() {
    let (url, serving) = migrated().await;
    let store = PostgresStore::connect(&serving, DEADLINE).await.unwrap_or_else(|error| panic!("{error}"));
    let mut stream = Sealer::start();
    assert_eq!(store.open(stream.stream(), stream.key.public()).await.unwrap(), []);
    let batch = stream.next([whole_event(), bare_event()]);
    store.append(&batch).await.unwrap();
    assert_eq!(store.head(stream.stream()).await.unwrap(), Some(batch.seal));
    assert_eq!(store.recent(10).await.unwrap().len(), 2);
    let place: String = one(&mut connect(&url).await, "select min(tableoid::regclass::text) from audit_event").await;
    assert_eq!(place, partition(month(0)));
}

#[tokio::test]
async fn the_service_warns_of_a_user_who_could_change_the_log_and_serves_as_one_who_could_not() {
    let (url, serving) = migrated().await;
    for (database, warned) in [(url, true), (serving, false)] {
        let site = Site::new(&database, "http://127.0.0.1:9");
        let (mut running, _) = site.serve().await;
        assert_eq!(running.stderr().contains("could change the log"), warned, "{}", running.stderr());
        running.signal("TERM");
        assert_eq!(running.ended().await, Some(0));
    }
}

#[tokio::test]
async fn the_serving_role_may_do_nothing_else() {
    let (url, serving) = migrated().await;
    let store = PostgresStore::connect(&serving, DEADLINE).await.unwrap();
    let mut stream = Sealer::start();
    store.open(stream.stream(), stream.key.public()).await.unwrap();
    store.append(&stream.next([bare_event()])).await.unwrap();
    let part = partition(month(0));
    let mut serving = connect(&serving).await;
    for refused in [
        "update audit_event set reason = 'x'".to_owned(),
        "delete from audit_seal".to_owned(),
        "truncate audit_key".to_owned(),
        format!("delete from {part}"),
        format!("insert into {part} select * from audit_event"),
        "insert into audit_retired_stream select * from audit_retired_stream".to_owned(),
        "alter table audit_event disable trigger all".to_owned(),
        "drop table audit_event".to_owned(),
        "create table mine (x int)".to_owned(),
        "select audit_retire('2020-01-01')".to_owned(),
        "select audit_make_partition('audit_event', '2020-01-01')".to_owned(),
        "select audit_settle_roles()".to_owned(),
        "delete from _sqlx_migrations".to_owned(),
        "set session_replication_role = replica".to_owned(),
        "set role stint_owner".to_owned(),
    ] {
        let error = run(&mut serving, &refused).await.expect_err(&refused);
        assert!(error.contains("permission denied") || error.contains("must be owner"), "{refused}: {error}");
    }
    let rows: i64 = one(&mut connect(&url).await, "select count(*) from audit_event").await;
    assert_eq!(rows, 1);
}

#[tokio::test]
async fn the_auditor_sees_views_alone_and_no_whole_fingerprint() {
    let (url, serving) = migrated().await;
    let store = PostgresStore::connect(&serving, DEADLINE).await.unwrap();
    let issued = whole_event();
    let fingerprint = issued.lease.as_ref().unwrap().key_fingerprint.as_ref().unwrap().as_str().to_owned();
    store.append(&Sealer::start().next([issued])).await.unwrap();
    let mut auditor = connect(&login(&url, "in role stint_audit").await).await;
    let mut owner = connect(&url).await;
    let masked = format!("{}…", &fingerprint[..8]);
    for view in ["auditor_event", "flex_auth_event", "cloudtrail_event"] {
        let row: String = one(&mut auditor, &format!("select to_jsonb(v)::text from {view} v")).await;
        assert!(row.contains(&masked) && !row.contains(&fingerprint), "{view}: {row}");
    }
    for view in ["auditor_seal", "auditor_policy_set"] {
        run(&mut auditor, &format!("select * from {view}")).await.unwrap();
    }
    let tables: Vec<String> = sqlx::query_scalar(
        "select relname::text from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'p')",
    )
    .fetch_all(&mut owner)
    .await
    .unwrap();
    assert!(tables.len() >= 10, "{tables:?}");
    for table in tables {
        let error = run(&mut auditor, &format!("select from {table}")).await.expect_err(&table);
        assert!(error.contains("permission denied"), "{table}: {error}");
    }
    for refused in ["select audit_make_room(gen_random_uuid())", "insert into auditor_policy_set values ('a', 'b')"] {
        let error = run(&mut auditor, refused).await.expect_err(refused);
        assert!(error.contains("permission denied"), "{refused}: {error}");
    }
}

#[tokio::test]
async fn a_refusal_has_no_response_and_an_issue_no_session_token_under_cloudtrails_names() {
    let url = fresh_database().await;
    let store = PostgresStore::connect(&url, DEADLINE).await.unwrap();
    let refused = event_of(stint::audit::EventKind::ExchangeRefused, "no_role");
    store.append(&Sealer::start().next([whole_event(), refused])).await.unwrap();
    let mut auditor = connect(&url).await;
    let row = "select to_jsonb(v) from cloudtrail_event v where \"errorCode\" is";
    let issued: serde_json::Value = one(&mut auditor, &format!("{row} null")).await;
    assert_eq!(issued["eventName"], "AssumeRoleWithWebIdentity");
    assert_eq!(issued["userIdentity"]["type"], "WebIdentityUser");
    assert_eq!(issued["userIdentity"]["identityProvider"], "authentik");
    assert_eq!(issued["requestParameters"]["roleArn"], "arn:aws:iam:::role/studio");
    assert_eq!(issued["requestParameters"]["durationSeconds"], 7_200);
    let credentials = issued["responseElements"]["credentials"].as_object().unwrap();
    assert_eq!(credentials.keys().collect::<Vec<_>>(), ["accessKeyId", "expiration"]);
    let refused: serde_json::Value = one(&mut auditor, &format!("{row} not null")).await;
    assert_eq!((&refused["errorCode"], &refused["responseElements"]), (&"no_role".into(), &serde_json::Value::Null));
}

#[tokio::test]
async fn the_flex_auth_view_has_the_columns_of_its_closed_schema() {
    let url = fresh_database().await;
    drop(PostgresStore::connect(&url, DEADLINE).await.unwrap());
    let columns: Vec<String> = sqlx::query_scalar(
        "select attname::text from pg_attribute where attrelid = 'flex_auth_event'::regclass and attnum > 0 order by 1",
    )
    .fetch_all(&mut connect(&url).await)
    .await
    .unwrap();
    let closed = "action decision_id effect exposure_event id metadata resource subject timestamp type";
    assert_eq!(columns.join(" "), closed);
}

#[tokio::test]
async fn a_user_who_may_not_migrate_is_told_to_run_stint_migrate() {
    let url = fresh_database().await;
    let stranger = login(&url, "").await;
    let error = PostgresStore::connect(&stranger, DEADLINE).await.unwrap_err();
    assert!(matches!(error, PostgresError::MayNotMigrate(_)), "{error:?}");
    assert!(error.to_string().contains("`stint migrate`"), "{error}");
    assert!(matches!(migrate(&stranger).await, Err(PostgresError::MayNotMigrate(_))));
}

#[tokio::test]
async fn an_owner_who_may_not_create_roles_migrates_all_the_same_and_serves() {
    let url = fresh_database().await;
    let owner = login(&url, "").await;
    let name = owner.expose_secret().split(['/', ':']).nth(3).unwrap().to_owned();
    run(&mut connect(&url).await, &format!("grant create on schema public to {name}")).await.unwrap();
    let migrated = migrate(&owner).await.unwrap();
    assert_eq!(migrated.applied.len(), migrations().len());
    assert!(migrated.undone.iter().all(|undone| undone.contains(&name)), "{migrated:?}");
    assert!(migrated.undone.iter().any(|undone| undone.contains("stint_owner")), "{migrated:?}");
    let store = PostgresStore::connect(&owner, DEADLINE).await.unwrap();
    let mut stream = Sealer::start();
    store.open(stream.stream(), stream.key.public()).await.unwrap();
    store.append(&stream.next([bare_event()])).await.unwrap();
    let again = migrate(&owner).await.unwrap();
    assert_eq!(again.applied, Vec::<String>::new());
}

#[tokio::test]
async fn an_owner_who_may_create_roles_hands_the_tables_over_and_can_migrate_again() {
    drop(migrated().await);
    let url = fresh_database().await;
    let owner = login(&url, "createrole").await;
    let name = owner.expose_secret().split(['/', ':']).nth(3).unwrap().to_owned();
    let database = url.expose_secret().rsplit_once('/').unwrap().1.to_owned();
    run(&mut connect(&url).await, &format!("alter database {database} owner to {name}")).await.unwrap();
    let migrated = migrate(&owner).await.unwrap();
    assert_eq!(migrated.undone, Vec::<String>::new());
    let of = "select relowner::regrole::text from pg_class where oid = 'audit_event'::regclass";
    assert_eq!(one::<String>(&mut connect(&url).await, of).await, "stint_owner");
    assert_eq!(migrate(&owner).await.unwrap().applied, Vec::<String>::new());
    let serving = login(&url, "in role stint_serve").await;
    let store = PostgresStore::connect(&serving, DEADLINE).await.unwrap();
    let mut stream = Sealer::start();
    store.open(stream.stream(), stream.key.public()).await.unwrap();
    store.append(&stream.next([bare_event()])).await.unwrap();
    let place = "select tableoid::regclass::text from audit_event";
    assert_eq!(one::<String>(&mut connect(&url).await, place).await, partition(month(0)));
}

/// Whoever may create things in the schema slips a better match under the definer: it must not be called.
#[tokio::test]
async fn a_function_planted_in_the_schema_does_not_run_as_the_owner() {
    let (url, serving) = migrated().await;
    let mut planter = connect(&url).await;
    for planted in [
        "create function public.format(text, name) returns text language plpgsql as
            $$ begin raise exception 'planted'; end $$",
        "create function public.date_trunc(unknown text, at timestamp) returns timestamp language plpgsql as
            $$ begin raise exception 'planted'; end $$",
        "create function public.current_schemas(boolean) returns name[] language plpgsql as
            $$ begin raise exception 'planted'; end $$",
    ] {
        run(&mut planter, planted).await.unwrap();
    }
    let twin = run(&mut planter, "set search_path = pg_catalog, public; select format('%I', 'x'::name)").await;
    assert!(twin.unwrap_err().contains("planted"), "the twin: a path that has the schema in it calls it");
    let store = PostgresStore::connect(&serving, DEADLINE).await.unwrap();
    let stream = Sealer::start();
    store.open(stream.stream(), stream.key.public()).await.unwrap();
}

#[tokio::test]
async fn everything_belongs_to_the_owner_role_and_explains_itself() {
    let (url, serving) = migrated().await;
    let store = PostgresStore::connect(&serving, DEADLINE).await.unwrap();
    store.open(Sealer::start().stream(), Sealer::start().key.public()).await.unwrap();
    let mut catalog = connect(&url).await;
    let elsewhere: Vec<String> = sqlx::query_scalar(
        "select relname::text from pg_class where relnamespace = 'public'::regnamespace and relowner <> 'stint_owner'::regrole
         union all
         select proname::text from pg_proc where pronamespace = 'public'::regnamespace and proowner <> 'stint_owner'::regrole",
    )
    .fetch_all(&mut catalog)
    .await
    .unwrap();
    assert_eq!(elsewhere, Vec::<String>::new());
    let bare: Vec<String> = sqlx::query_scalar(
        "select relname || coalesce('.' || attname, '') from (
            select relname, attname, col_description(attrelid, attnum) as said
            from pg_attribute join pg_class on pg_class.oid = attrelid
            where relnamespace = 'public'::regnamespace and relkind in ('r', 'p', 'v') and attnum > 0 and not attisdropped
            union all
            select relname, null, obj_description(oid, 'pg_class') from pg_class
            where relnamespace = 'public'::regnamespace and relkind in ('r', 'p', 'v')
            union all
            select proname, null, obj_description(oid, 'pg_proc') from pg_proc where pronamespace = 'public'::regnamespace
         ) as things
         where coalesce(said, '') = '' and relname <> '_sqlx_migrations' order by 1",
    )
    .fetch_all(&mut catalog)
    .await
    .unwrap();
    assert_eq!(bare, Vec::<String>::new());
}

#[tokio::test]
async fn every_table_and_partition_refuses_change_even_to_a_superuser() {
    let (url, serving) = migrated().await;
    let store = PostgresStore::connect(&serving, DEADLINE).await.unwrap();
    let mut stream = Sealer::start();
    store.open(stream.stream(), stream.key.public()).await.unwrap();
    store.append(&stream.next([bare_event()])).await.unwrap();
    let mut superuser = connect(&url).await;
    // Which use owns a nonce follows from audit_event, and is freed again: only instances that race ask that table.
    let tables: Vec<String> = sqlx::query_scalar(
        "select relname::text from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'p')
            and relname not in ('_sqlx_migrations', 'audit_break_glass_nonce') order by 1",
    )
    .fetch_all(&mut superuser)
    .await
    .unwrap();
    assert!(tables.len() >= 13, "{tables:?}");
    for mode in ["origin", "replica"] {
        run(&mut superuser, &format!("set session_replication_role = {mode}")).await.unwrap();
        for table in &tables {
            let column: String = one(
                &mut superuser,
                &format!("select attname::text from pg_attribute where attrelid = '{table}'::regclass and attnum = 1"),
            )
            .await;
            for change in [
                format!("update {table} set {column} = {column}"),
                format!("update {table} set {column} = {column} where false"),
                format!("delete from {table}"),
                format!("delete from {table} where false"),
                format!("truncate {table}"),
                format!("insert into {table} select * from {table} on conflict do nothing; truncate {table} cascade"),
            ] {
                let error = run(&mut superuser, &change).await.expect_err(&change);
                assert!(error.contains("is append-only"), "{mode}: {change}: {error}");
            }
        }
    }
    let rows: i64 = one(&mut superuser, "select count(*) from audit_event").await;
    assert_eq!(rows, 1);
}
