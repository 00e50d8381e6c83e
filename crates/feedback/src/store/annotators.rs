//! Who may say something.

use rusqlite::{OptionalExtension, Row, params};
use subtle::ConstantTimeEq;

use super::{Change, Store, sha256};
use crate::error::{FeedbackError, Refusal};

/// What somebody is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Answers, and sees how far everyone is.
    Admin,
    /// Answers.
    Person,
    /// Answers as a program has it.
    Simulated,
}

impl Role {
    /// As it stands in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Person => "person",
            Self::Simulated => "simulated",
        }
    }

    /// The role of this name.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Admin, Self::Person, Self::Simulated].into_iter().find(|it| it.as_str() == text)
    }
}

/// Somebody who may answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Annotator {
    /// The row.
    pub(crate) id: i64,
    /// The name.
    pub name: String,
    /// What they are.
    pub role: Role,
    /// Whether they may not answer any more.
    pub is_suspended: bool,
}

const COLUMNS: &str = "SELECT id, external_id, role, state FROM annotator";

impl Change<'_> {
    /// Makes somebody known, who can't log in; whoever is known already stays as they are.
    pub fn add_annotator(&self, name: &str, role: Role) -> Result<Annotator, FeedbackError> {
        if name.is_empty() || name.len() > 256 || name.chars().any(char::is_control) {
            let reason = format!("a name has 1 to 256 bytes on one line, which {name:?} hasn't");
            return Err(Refusal::BadAnswer(reason).into());
        }
        self.connection
            .prepare_cached(
                "INSERT INTO annotator (external_id, role, created_at) VALUES (?1, ?2, ?3)
                 ON CONFLICT (external_id) DO NOTHING",
            )?
            .execute(params![name, role.as_str(), self.now])?;
        self.annotator(name)
    }

    /// Gives somebody a new token to log in with, and takes an earlier one away. Only its hash is stored.
    pub fn new_token(&self, name: &str) -> Result<String, FeedbackError> {
        let annotator = self.annotator(name)?;
        let token = random_token()?;
        self.connection.execute(
            "UPDATE annotator SET token_hash = ?1 WHERE id = ?2",
            params![sha256(&token), annotator.id],
        )?;
        Ok(token)
    }

    /// Lets somebody answer, or not any more. What they said stays.
    pub fn suspend(&self, name: &str, is_suspended: bool) -> Result<(), FeedbackError> {
        let state = if is_suspended { "suspended" } else { "active" };
        let annotator = self.annotator(name)?;
        let change = "UPDATE annotator SET state = ?1 WHERE id = ?2";
        self.connection.execute(change, params![state, annotator.id])?;
        Ok(())
    }

    /// Who goes by this name.
    pub fn annotator(&self, name: &str) -> Result<Annotator, FeedbackError> {
        let query = format!("{COLUMNS} WHERE external_id = ?1");
        let mut statement = self.connection.prepare_cached(&query)?;
        let found = statement.query_row([name], annotator).optional()?;
        Ok(found.ok_or_else(|| Refusal::NoAnnotator(name.into()))?)
    }

    /// Who may answer under this name.
    pub(super) fn active(&self, name: &str) -> Result<Annotator, FeedbackError> {
        let annotator = self.annotator(name)?;
        if annotator.is_suspended {
            return Err(Refusal::Suspended(name.into()).into());
        }
        Ok(annotator)
    }
}

impl Store {
    /// All who are known, in the order they became so.
    pub fn annotators(&self) -> Result<Vec<Annotator>, FeedbackError> {
        self.query(|connection| {
            let mut statement = connection.prepare_cached(&format!("{COLUMNS} ORDER BY id"))?;
            let rows = statement.query_map([], annotator)?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })
    }

    /// Whose token this is. How long it takes says nothing of how near a wrong one is: hashes are looked up and compared
    /// in constant time.
    pub fn by_token(&self, token: &str) -> Result<Option<Annotator>, FeedbackError> {
        let hash = sha256(token);
        self.query(|connection| {
            let query = "SELECT id, external_id, role, state, token_hash FROM annotator
                         WHERE token_hash = ?1";
            let mut statement = connection.prepare_cached(query)?;
            let found = statement
                .query_row([&hash], |row| Ok((annotator(row)?, row.get::<_, String>(4)?)))
                .optional()?;
            let equal = |known: &str| bool::from(known.as_bytes().ct_eq(hash.as_bytes()));
            Ok(found.filter(|(_, known)| equal(known)).map(|(annotator, _)| annotator))
        })
    }
}

fn annotator(row: &Row<'_>) -> rusqlite::Result<Annotator> {
    let role: String = row.get(2)?;
    let state: String = row.get(3)?;
    Ok(Annotator {
        id: row.get(0)?,
        name: row.get(1)?,
        // A role of a later version may do the least.
        role: Role::parse(&role).unwrap_or(Role::Person),
        is_suspended: state != "active",
    })
}

/// 256 bits of the operating system's, in hexadecimal digits.
pub(crate) fn random_token() -> Result<String, FeedbackError> {
    let mut bytes = [0_u8; 32];
    getrandom::fill(&mut bytes)
        .map_err(|error| FeedbackError::Invalid(format!("no random numbers: {error}")))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
