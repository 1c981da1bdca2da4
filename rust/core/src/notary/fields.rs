//! The list of signed paths, in one piece of memory however long it is.

/// Paths in order of signing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fields {
    text: String,
    /// Where each path ends in `text`.
    ends: Vec<usize>,
}

impl Fields {
    pub(super) fn push(&mut self, path: &str) {
        self.text.push_str(path);
        self.ends.push(self.text.len());
    }

    /// Adds a path that comes in pieces.
    pub(super) fn push_with<E>(
        &mut self,
        write: impl FnOnce(&mut String) -> Result<(), E>,
    ) -> Result<(), E> {
        write(&mut self.text)?;
        self.ends.push(self.text.len());
        Ok(())
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether nothing is signed.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The path at that position.
    pub fn get(&self, index: usize) -> Option<&str> {
        let end = *self.ends.get(index)?;
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        Some(&self.text[start..end])
    }

    /// All paths, in order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        (0..self.len()).filter_map(|index| self.get(index))
    }

    /// Whether the path is listed.
    pub fn contains(&self, path: &str) -> bool {
        self.iter().any(|field| field == path)
    }
}
