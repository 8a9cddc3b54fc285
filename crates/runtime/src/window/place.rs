//! Where each row of a chunk belongs: the slice that it is in, if any window of it is still to fire.

use super::shape::{Grid, Wall};
use crate::chunk::Chunk;
use crate::operator::OperatorError;
use crate::zone::Zone;
use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMicrosecondType;
use arrow_array::{Array, PrimitiveArray};
use arrow_schema::{DataType, Schema, TimeUnit};
use lw_graph::{Window, Windowing};
use thiserror::Error;

/// A slice of a grid, or a window that was attached below. Slices are ordered as they end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Slice {
    pub(super) end: i64,
    pub(super) start: i64,
}

/// Where an operator's rows have their windows from.
pub(super) struct Windows {
    pub(super) of: Of,
    pub(super) wall: Wall,
}

pub(super) enum Of {
    /// It cuts a column's time itself.
    Time { column: usize, grid: Grid },
    /// The columns of a window below.
    Attached { start: usize, end: usize },
}

/// What the windows of a graph's node cannot be; the planner refuses it first.
#[derive(Debug, PartialEq, Eq, Error)]
pub(super) enum NoWindows {
    #[error("a session has no grid")]
    Session,
    #[error("there is no time zone '{0}'")]
    Zone(String),
    #[error("windows are of times in microseconds, not of {0}")]
    Time(DataType),
}

impl Windows {
    pub(super) fn new(windowing: &Windowing, input: &Schema) -> Result<Windows, NoWindows> {
        let (of, zone) = match windowing {
            Windowing::Assign(window) => (Windows::of_grid(window)?, &window.zone),
            Windowing::Attached { start, end, zone } => {
                let (start, end) = (*start, *end);
                (Of::Attached { start, end }, zone)
            }
        };
        let times = match of {
            Of::Time { column, .. } => [column, column],
            Of::Attached { start, end } => [start, end],
        };
        for column in times {
            match input.field(column).data_type() {
                DataType::Timestamp(TimeUnit::Microsecond, _) => {}
                other => return Err(NoWindows::Time(other.clone())),
            }
        }
        let zone = zone
            .as_ref()
            .map(|name| Zone::parse(name).ok_or_else(|| NoWindows::Zone(name.clone())));
        Ok(Windows {
            of,
            wall: Wall::new(zone.transpose()?),
        })
    }

    fn of_grid(window: &Window) -> Result<Of, NoWindows> {
        let grid = Grid::new(window).ok_or(NoWindows::Session)?;
        let column = window.time;
        Ok(Of::Time { column, grid })
    }

    pub(super) fn grid(&self) -> Option<&Grid> {
        match &self.of {
            Of::Time { grid, .. } => Some(grid),
            Of::Attached { .. } => None,
        }
    }

    /// Each row's slice.
    ///
    /// # Errors
    /// When a row has no time, which what stands before the operator has seen to.
    pub(super) fn slices(&self, chunk: &Chunk) -> Result<Vec<Slice>, OperatorError> {
        match self.of {
            Of::Time { column, grid } => {
                let times = times(chunk, column)?;
                let mut recent = Slice { end: 0, start: 0 };
                let slice = |micros: &i64| {
                    let local = self.wall.local(micros.div_euclid(1000));
                    if !(recent.start..recent.end).contains(&local) {
                        let end = grid.slice_end(local);
                        let start = end - grid.step();
                        recent = Slice { end, start };
                    }
                    recent
                };
                Ok(times.values().iter().map(slice).collect())
            }
            Of::Attached { start, end } => {
                let (start, end) = (times(chunk, start)?, times(chunk, end)?);
                let pairs = start.values().iter().zip(end.values());
                let slice = |(start, end): (&i64, &i64)| Slice {
                    end: end.div_euclid(1000),
                    start: start.div_euclid(1000),
                };
                Ok(pairs.map(slice).collect())
            }
        }
    }

    /// The event time of a row, milliseconds since 1970.
    pub(super) fn event_time(&self, chunk: &Chunk, row: usize) -> i64 {
        let column = |column: usize| {
            let times = chunk.columns.column(column);
            times.as_primitive::<TimestampMicrosecondType>().value(row)
        };
        match self.of {
            Of::Time { column: of, .. } => column(of).div_euclid(1000),
            Of::Attached { end, .. } => self.wall.instant(column(end).div_euclid(1000) - 1),
        }
    }

    /// The end of the last window that a slice is in.
    pub(super) fn last_end(&self, slice: Slice) -> i64 {
        self.grid()
            .map_or(slice.end, |grid| grid.last_end(slice.end))
    }
}

pub(super) fn times(
    chunk: &Chunk,
    column: usize,
) -> Result<&PrimitiveArray<TimestampMicrosecondType>, OperatorError> {
    let times = chunk.columns.column(column);
    let times = times.as_primitive::<TimestampMicrosecondType>();
    if times.null_count() > 0 {
        let name = chunk.columns.schema_ref().field(column).name().clone();
        return Err(OperatorError::Value {
            message: format!(
                "column '{name}' is NULL behind an aggregate, and a window needs a time"
            ),
            hint: format!("keep rows without one away: WHERE {name} IS NOT NULL"),
            place: Vec::new(),
        });
    }
    Ok(times)
}
