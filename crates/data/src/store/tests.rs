use std::fs;

use tempfile::TempDir;

use super::*;

fn rows() -> Vec<TokenRow> {
    let row = |number: u32| {
        let prompt = (0..number % 5 + 1).map(|token| token + 1000 * number).collect();
        TokenRow::completion(prompt, &(0..number % 7).collect::<Vec<_>>())
    };
    (0..8).map(row).collect()
}

fn write(folder: &TempDir, rows: &[TokenRow]) -> PathBuf {
    let path = folder.path().join("train.rows");
    let mut writer = TokenStoreWriter::create(&path).expect("creates");
    rows.iter().try_for_each(|row| writer.push(row)).expect("pushes");
    writer.finish().expect("finishes");
    path
}

/// All rows, or the first error.
fn read(path: &Path) -> Result<Vec<TokenRow>, DataError> {
    let store = TokenStore::open(path)?;
    (0..store.len()).map(|row| store.row(row)).collect()
}

fn read_bytes(folder: &TempDir, bytes: &[u8]) -> Result<Vec<TokenRow>, String> {
    let path = folder.path().join("other.rows");
    fs::write(&path, bytes).expect("writes");
    read(&path).map_err(|error| match error {
        DataError::File { .. } => error.to_string(),
        other => panic!("not an error about the file: {other}"),
    })
}

#[test]
fn a_file_gives_the_rows_that_were_written_in_any_order() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let rows = rows();
    let store = TokenStore::open(write(&folder, &rows)).expect("opens");
    let memory = TokenStore::in_memory(rows.clone());
    assert_eq!((store.len(), memory.len()), (rows.len(), rows.len()));
    for number in (0..rows.len()).rev().chain([3, 3]) {
        assert_eq!(store.row(number).expect("reads"), rows[number]);
        assert_eq!(memory.row(number).expect("reads"), rows[number]);
        assert_eq!(store.n_tokens(number), memory.n_tokens(number));
        assert_eq!(store.n_learned(number), memory.n_learned(number));
        assert_eq!(store.n_learned(number), rows[number].n_learned());
    }
}

#[test]
fn no_rows_are_a_file_too() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    assert!(TokenStore::open(write(&folder, &[])).expect("opens").is_empty());
}

#[test]
fn threads_read_at_the_same_time() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let rows = rows();
    let store = TokenStore::open(write(&folder, &rows)).expect("opens");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..50 {
                    let read = (0..rows.len()).map(|row| store.row(row).expect("reads"));
                    assert!(read.eq(rows.iter().cloned()));
                }
            });
        }
    });
}

#[test]
fn the_old_file_stays_until_the_new_one_is_whole() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = write(&folder, &rows());
    let mut writer = TokenStoreWriter::create(&path).expect("creates");
    writer.push(&rows()[3]).expect("pushes");
    assert_eq!(read(&path).expect("reads"), rows());
    drop(writer);
    assert_eq!(read(&path).expect("reads"), rows());
    assert_eq!(fs::read_dir(folder.path()).expect("reads").count(), 1, "nothing is left");
    write(&folder, &rows()[..2]);
    assert_eq!(read(&path).expect("reads"), rows()[..2]);
}

#[test]
fn rows_that_cannot_be_trained_on_are_refused_and_named() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut writer = TokenStoreWriter::create(folder.path().join("it")).expect("creates");
    writer.push(&rows()[1]).expect("pushes");
    let row = |tokens: Vec<u32>, learned: Vec<bool>| TokenRow { tokens, learned };
    for (row, reason) in [
        (row(vec![], vec![]), "without tokens"),
        (row(vec![1, 2], vec![false]), "2 tokens, 1 of them marked"),
        (row(vec![1, 2], vec![true, false]), "nothing predicts the first"),
        (row(vec![1, 1 << 31], vec![false, true]), "above 2^31"),
        (row(vec![1; (1 << 24) + 1], vec![false; (1 << 24) + 1]), "at most 16777216"),
    ] {
        let error = writer.push(&row).expect_err("is refused").to_string();
        assert!(error.starts_with("row 2: ") && error.contains(reason), "{error}");
    }
    assert_eq!(writer.finish().expect("finishes").len(), 1, "what was refused is not there");
}

#[test]
fn a_folder_is_never_replaced() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::write(folder.path().join("precious"), "").expect("writes");
    TokenStoreWriter::create(folder.path()).expect_err("is refused");
    assert!(folder.path().join("precious").exists());
}

#[test]
fn a_changed_byte_anywhere_is_told() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let whole = fs::read(write(&folder, &rows())).expect("reads");
    assert_eq!(read_bytes(&folder, &whole), Ok(rows()));
    for place in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[place] ^= 1 << (place % 8);
        let error = read_bytes(&folder, &bytes).expect_err("is told");
        assert!(error.contains("other.rows: "), "{error}");
    }
}

#[test]
fn a_file_that_was_cut_or_continued_is_told() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut bytes = fs::read(write(&folder, &rows())).expect("reads");
    for n_bytes in 0..bytes.len() {
        read_bytes(&folder, &bytes[..n_bytes]).expect_err("is told");
    }
    bytes.push(0);
    read_bytes(&folder, &bytes).expect_err("is told");
}

#[test]
fn a_file_that_is_cut_while_it_is_open_is_told() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = write(&folder, &rows());
    let store = TokenStore::open(&path).expect("opens");
    let file = fs::OpenOptions::new().write(true).open(&path).expect("opens");
    file.set_len(100).expect("cuts");
    assert_eq!(store.row(0).expect("reads"), rows()[0]);
    let error = store.row(7).expect_err("is told").to_string();
    assert!(error.contains("it ends before row 8 does"), "{error}");
}

#[test]
fn counts_that_lie_take_no_memory() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let whole = fs::read(write(&folder, &rows())).expect("reads");
    let counts = [0, 1, 9, 1 << 32, 1 << 61, 1 << 62, u64::MAX / 4, u64::MAX];
    for (n_rows, n_tokens) in counts.iter().flat_map(|a| counts.iter().map(|b| (*a, *b))) {
        let header = Header { n_rows, n_tokens, checksum: 0 };
        let bytes = [&header.to_bytes()[..], &whole[Header::BYTES..]].concat();
        let error = read_bytes(&folder, &bytes).expect_err("is told");
        assert!(error.contains("that it announces"), "{error}");
    }
}

/// A file whose checksums are right and whose sizes are these.
fn forged(sizes: &[[u32; 2]], records: &[u8], n_tokens: u64) -> Vec<u8> {
    let sizes: Vec<u8> = sizes.iter().flatten().flat_map(|count| count.to_le_bytes()).collect();
    let (n_rows, checksum) = (sizes.len() as u64 / 8, crc32c::crc32c(&sizes));
    let header = Header { n_rows, n_tokens, checksum };
    [&header.to_bytes()[..], records, &sizes].concat()
}

#[test]
fn sizes_that_lie_are_told_though_their_checksum_is_right() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let row = TokenRow::completion(vec![1, 2], &[3]);
    let records = [format::encode(&row), format::encode(&row)].concat();
    let good = forged(&[[3, 1], [3, 1]], &records, 6);
    assert_eq!(read_bytes(&folder, &good), Ok(vec![row.clone(), row]));
    for (sizes, reason) in [
        ([[0, 0], [6, 1]], "row 1: a row without tokens"),
        ([[3, 1], [3, 3]], "row 2: 3 of 3 tokens are to be learned"),
        ([[3, 1], [u32::MAX, 1]], "row 2: a row of 4294967295 tokens"),
        ([[3, 1], [4, 1]], "sizes of its rows are damaged"),
        ([[2, 1], [4, 1]], "row 1 is damaged"),
        ([[3, 2], [3, 1]], "row 1 doesn't fit its size"),
    ] {
        let error = read_bytes(&folder, &forged(&sizes, &records, 6)).expect_err("is told");
        assert!(error.contains(reason), "{error}");
    }
}

#[test]
fn a_first_token_that_claims_to_be_learned_is_told() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let row = TokenRow { tokens: vec![1, 2], learned: vec![true, false] };
    let bytes = forged(&[[2, 1]], &format::encode(&row), 2);
    let error = read_bytes(&folder, &bytes).expect_err("is told");
    assert!(error.contains("row 1 doesn't fit its size"), "{error}");
}

#[test]
fn what_is_not_a_file_of_rows_is_told() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let text = "{\"prompt\": \"this is another kind of file\", \"completion\": \"indeed\"}";
    let error = read_bytes(&folder, text.as_bytes()).expect_err("is told");
    assert!(error.contains("these aren't encoded rows"), "{error}");
    let mut bytes = fs::read(write(&folder, &rows())).expect("reads");
    bytes[8] = 2;
    let error = read_bytes(&folder, &bytes).expect_err("is told");
    assert!(error.contains("version 2, but this program reads 1"), "{error}");
    TokenStore::open(folder.path().join("nothing")).expect_err("is told");
    TokenStore::open(folder.path()).expect_err("is told");
}
