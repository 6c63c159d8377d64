//! A list that grows while loops read it: what was there at the start is found as in a slice, what came later without a lock.

use std::ops::Index;

/// Never shrinks, and what is in it stays where it is.
#[derive(Debug)]
pub struct Grown<T> {
    first: Box<[T]>,
    later: boxcar::Vec<Box<T>>,
}

impl<T> Grown<T> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.first.len() + self.later.count()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What is in this place, if there is something.
    #[inline]
    pub fn get(&self, place: usize) -> Option<&T> {
        match self.first.get(place) {
            Some(found) => Some(found),
            None => self.later(place),
        }
    }

    /// A call, so that what is done for all others stays short.
    #[inline(never)]
    fn later(&self, place: usize) -> Option<&T> {
        self.later.get(place - self.first.len()).map(|found| &**found)
    }

    /// All, in order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.first.iter().chain(self.later.iter().map(|(_, found)| &**found))
    }

    /// Adds one, and says where. Control threads call this.
    pub fn push(&self, added: T) -> usize {
        self.first.len() + self.later.push(Box::new(added))
    }
}

impl<T> FromIterator<T> for Grown<T> {
    fn from_iter<I: IntoIterator<Item = T>>(all: I) -> Self {
        Self { first: all.into_iter().collect(), later: boxcar::Vec::new() }
    }
}

impl<T> Index<usize> for Grown<T> {
    type Output = T;

    #[inline]
    fn index(&self, place: usize) -> &T {
        match self.first.get(place) {
            Some(found) => found,
            None => match self.later(place) {
                Some(found) => found,
                None => panic!("there is nothing in place {place}"),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_later_stands_behind_what_was_there() {
        let list: Grown<u32> = [10, 11].into_iter().collect();
        assert_eq!((list.push(12), list.push(13)), (2, 3));
        assert_eq!(list.iter().copied().collect::<Vec<_>>(), [10, 11, 12, 13]);
        assert_eq!((list[0], list[3], list.get(4), list.len()), (10, 13, None, 4));
    }
}
