//! A part of the terminal that is drawn again in place.

use std::{
    io::{self, IsTerminal as _, Write},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// More pictures than ten a second are only flicker.
const REDRAWN: Duration = Duration::from_millis(100);

/// Lines on standard error that are replaced as a whole. Clones draw the same lines; they vanish with the last clone.
#[derive(Clone, Debug)]
pub struct Live(Arc<Mutex<Screen>>);

impl Live {
    /// None where standard error is no terminal: there is nothing to draw on.
    pub fn on_stderr() -> Option<Self> {
        io::stderr().is_terminal().then(|| Self(Arc::default()))
    }

    /// Columns that a line may have.
    pub fn width(&self) -> usize {
        // One less than there are: a full line would make some terminals wrap.
        size().0 - 1
    }

    /// Columns and lines that a picture may have.
    pub fn size(&self) -> (usize, usize) {
        (self.width(), size().1 - 1)
    }

    /// Draws `picture` in place of the last one.
    pub fn show(&self, picture: &str) {
        let mut screen = self.lock();
        screen.picture = picture.to_owned();
        if screen.drawn_at.is_none_or(|at| at.elapsed() >= REDRAWN) {
            screen.draw();
        }
    }

    /// Takes the picture away while `write` uses the terminal.
    pub fn aside(&self, write: &mut dyn FnMut()) {
        let mut screen = self.lock();
        screen.erase();
        write();
        screen.draw();
    }

    /// Takes the picture away for good.
    pub fn clear(&self) {
        let mut screen = self.lock();
        screen.picture.clear();
        screen.erase();
    }

    fn lock(&self) -> MutexGuard<'_, Screen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Text, such as the log's, goes to standard error above the picture.
impl Write for Live {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut written = Ok(0);
        self.aside(&mut || written = io::stderr().write(bytes));
        written
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// The picture, and what of it is on the terminal. The cursor stands at the beginning of the line below: what a terminal
/// shows of a `^C` is in nobody's way there.
#[derive(Debug, Default)]
struct Screen {
    picture: String,
    /// Columns of each line that is on the terminal.
    drawn: Vec<usize>,
    drawn_at: Option<Instant>,
}

impl Screen {
    fn draw(&mut self) {
        let (columns, rows) = size();
        let text = erasure(&self.drawn, columns);
        // A line that has left the terminal at the top could not be replaced.
        let lines: Vec<&str> = self.picture.lines().take(rows - 1).collect();
        self.drawn = lines.iter().map(|line| columns_of(line)).collect();
        self.drawn_at = Some(Instant::now());
        put(&lines.iter().fold(text, |text, line| text + line + "\n"));
    }

    fn erase(&mut self) {
        put(&erasure(&self.drawn, size().0));
        self.drawn.clear();
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.erase();
    }
}

/// Takes lines of so many columns away and puts the cursor where the first one was (ECMA-48's CUU and ED). A terminal that
/// has become narrower since has broken them.
fn erasure(drawn: &[usize], columns: usize) -> String {
    match drawn.iter().map(|line| line.div_ceil(columns).max(1)).sum::<usize>() {
        0 => String::new(),
        rows => format!("\r\x1b[{rows}A\x1b[J"),
    }
}

/// How many columns a line takes: what sets a colour (from ESC to `m`) takes none.
fn columns_of(line: &str) -> usize {
    let mut parts = line.split('\x1b');
    let first = parts.next().map_or(0, |text| text.chars().count());
    let behind = |part: &str| part.split_once('m').map_or(0, |(_, text)| text.chars().count());
    first + parts.map(behind).sum::<usize>()
}

/// In one write, so that nobody sees half of it. A terminal that is gone can't be told so.
fn put(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}

/// Columns and rows, two at least.
fn size() -> (usize, usize) {
    let (columns, rows) =
        terminal_size::terminal_size_of(io::stderr()).map_or((80, 24), |(width, height)| (width.0, height.0));
    (usize::from(columns.max(2)), usize::from(rows.max(2)))
}

#[cfg(test)]
mod tests {
    use super::{columns_of, erasure};

    #[test]
    fn colours_take_no_room() {
        assert_eq!(columns_of("ab▁"), 3);
        assert_eq!(columns_of("\x1b[1m\x1b[31mab\x1b[0m c"), 4);
    }

    #[test]
    fn as_many_rows_are_taken_away_as_there_are_now() {
        assert_eq!(erasure(&[], 80), "", "nothing was drawn");
        assert_eq!(erasure(&[79, 12, 0], 80), "\r\x1b[3A\x1b[J");
        assert_eq!(erasure(&[79, 12, 0], 40), "\r\x1b[4A\x1b[J", "the terminal has broken the first line");
        assert_eq!(erasure(&[79, 12, 0], 80 / 8), "\r\x1b[11A\x1b[J");
    }
}
