//! Requests that were written before the run, and the token that is put into each.
use std::io::{self, BufRead, Seek};

/// Reads at most `count` requests behind the first `skipped` of a file that holds `<length>\n<request>` again and
/// again, and puts `token` where `hole` stands in each.
///
/// # Errors
/// If the file cannot be read, ends within a request, or has none there; for a request without a hole, and for a
/// token of another length, which would make the request's own account of its length wrong.
pub fn read(
    mut file: impl BufRead + Seek,
    skipped: usize,
    count: usize,
    hole: &str,
    token: &str,
) -> io::Result<Vec<Vec<u8>>> {
    if token.len() != hole.len() || hole.is_empty() {
        return Err(io::Error::other(format!(
            "a token of {} characters for {} that were left",
            token.len(),
            hole.len()
        )));
    }
    for _ in 0..skipped {
        let Some(length) = next_length(&mut file)? else {
            break;
        };
        file.seek_relative(length.try_into().map_err(io::Error::other)?)?;
    }
    let mut requests = Vec::with_capacity(count);
    while requests.len() < count {
        let Some(length) = next_length(&mut file)? else {
            break;
        };
        let mut request = vec![0; length];
        file.read_exact(&mut request)?;
        let at = request
            .windows(hole.len())
            .position(|piece| piece == hole.as_bytes())
            .ok_or_else(|| io::Error::other("a request without a place for the token"))?;
        request[at..at + token.len()].copy_from_slice(token.as_bytes());
        requests.push(request);
    }
    if requests.is_empty() && count > 0 {
        return Err(io::Error::other("no requests there"));
    }
    Ok(requests)
}

fn next_length(file: &mut impl BufRead) -> io::Result<Option<usize>> {
    let mut line = String::new();
    file.read_line(&mut line)?;
    if line.is_empty() {
        return Ok(None);
    }
    line.trim_end().parse().map(Some).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::read;

    const FILE: &str = "8\na [~~] b10\na [~~] b\n\n8\nc [~~] d";

    fn requests(skipped: usize, count: usize) -> Vec<String> {
        read(Cursor::new(FILE), skipped, count, "~~", "xy")
            .unwrap()
            .into_iter()
            .map(|one| String::from_utf8(one).unwrap())
            .collect()
    }

    #[test]
    fn each_request_is_read_whole_and_gets_the_token() {
        assert_eq!(requests(0, 9), ["a [xy] b", "a [xy] b\n\n", "c [xy] d"]);
        assert_eq!(requests(1, 1), ["a [xy] b\n\n"]);
    }

    #[test]
    fn only_the_first_hole_is_filled() {
        let read = read(Cursor::new("6\n~~ ~~."), 0, 1, "~~", "xy").unwrap();
        assert_eq!(read, [b"xy ~~."]);
    }

    #[test]
    fn what_cannot_be_sent_is_an_error() {
        for (file, token) in [
            (FILE, "x"),
            (FILE, "xyz"),
            ("", "xy"),
            ("9\na [~~] b", "xy"),
            ("x\na [~~] b", "xy"),
            ("4\nabcd", "xy"),
        ] {
            assert!(
                read(Cursor::new(file), 0, 9, "~~", token).is_err(),
                "{file:?} {token}"
            );
        }
        assert!(read(Cursor::new(FILE), 3, 1, "~~", "xy").is_err());
    }
}
