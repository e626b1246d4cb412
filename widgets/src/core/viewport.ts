// Where a matrix lies on a plot: fitting, panning, zooming, and which tiles a view of it needs.

export interface Place {
  left: number;
  top: number;
  width: number;
  height: number;
}

/** Centre of the view in cells, and zoom against the whole matrix (1). */
export interface View {
  col: number;
  row: number;
  zoom: number;
}

export interface TileName {
  level: number;
  row: number;
  col: number;
}

const WIDEST_CELL = 48; // CSS pixels at the deepest zoom
const SQUARE_TO = 3; // matrices longer than this are stretched, not drawn as a strip

export class Frame {
  readonly shape: readonly [number, number];
  readonly place: Place;
  /** CSS pixels a cell at zoom 1. */
  readonly fitX: number;
  readonly fitY: number;

  constructor(shape: readonly [number, number], place: Place) {
    const [rows, cols] = [Math.max(1, shape[0]), Math.max(1, shape[1])];
    [this.shape, this.place] = [[rows, cols], place];
    [this.fitX, this.fitY] = [place.width / cols, place.height / rows];
    if (Math.max(rows, cols) <= SQUARE_TO * Math.min(rows, cols)) this.fitX = this.fitY = Math.min(this.fitX, this.fitY);
  }

  get home(): View {
    return this.clamp({ col: this.shape[1] / 2, row: this.shape[0] / 2, zoom: 1 });
  }

  get deepest(): number {
    return Math.max(1, WIDEST_CELL / Math.min(this.fitX, this.fitY));
  }

  /** The nearest view that shows matrix and no emptiness beside it. */
  clamp({ col, row, zoom }: View): View {
    const near = Math.min(this.deepest, Math.max(1, zoom));
    const along = (at: number, cells: number, fit: number, pixels: number, middle: number) => {
      const half = pixels / (fit * near) / 2;
      return 2 * half >= cells ? middle + (1 - 2 * middle / cells) * half : Math.min(cells - half, Math.max(half, at));
    };
    return { col: along(col, this.shape[1], this.fitX, this.place.width, this.shape[1] / 2), row: along(row, this.shape[0], this.fitY, this.place.height, 0), zoom: near };
  }

  x(view: View, col: number): number {
    return this.place.left + this.place.width / 2 + (col - view.col) * this.fitX * view.zoom;
  }

  y(view: View, row: number): number {
    return this.place.top + this.place.height / 2 + (row - view.row) * this.fitY * view.zoom;
  }

  /** Place in cells under a pixel; may lie outside. */
  under(view: View, x: number, y: number): { row: number; col: number } {
    const { left, top, width, height } = this.place;
    return { col: view.col + (x - left - width / 2) / (this.fitX * view.zoom), row: view.row + (y - top - height / 2) / (this.fitY * view.zoom) };
  }

  /** Zoom by a factor and keep what is under the pixel there. */
  zoomAt(view: View, factor: number, x: number, y: number): View {
    const zoom = Math.min(this.deepest, Math.max(1, view.zoom * factor));
    const at = this.under(view, x, y);
    const part = view.zoom / zoom;
    return this.clamp({ col: at.col + (view.col - at.col) * part, row: at.row + (view.row - at.row) * part, zoom });
  }

  pan(view: View, dx: number, dy: number): View {
    return this.clamp({ ...view, col: view.col - dx / (this.fitX * view.zoom), row: view.row - dy / (this.fitY * view.zoom) });
  }

  /** Cells in sight; the last excluded. */
  sight(view: View): { rows: [number, number]; cols: [number, number] } {
    const { left, top, width, height } = this.place;
    const low = this.under(view, left, top);
    const high = this.under(view, left + width, top + height);
    const within = (a: number, b: number, most: number): [number, number] => [Math.max(0, Math.floor(a + 1e-6)), Math.min(most, Math.ceil(b - 1e-6))];
    return { rows: within(low.row, high.row, this.shape[0]), cols: within(low.col, high.col, this.shape[1]) };
  }

  /** Level whose values are about one device pixel wide; 0 when cells are larger than that. */
  level(view: View, ratio: number): number {
    const cells = 1 / (Math.max(this.fitX, this.fitY) * view.zoom * ratio);
    return Math.max(0, Math.round(Math.log2(cells)));
  }

  /** Tiles that cover what is in sight, those in the middle first. */
  tiles(view: View, level: number, size: number): TileName[] {
    const { rows, cols } = this.sight(view);
    const span = size * 2 ** level;
    const names: TileName[] = [];
    for (let row = Math.floor(rows[0] / span); row * span < rows[1]; row++) {
      for (let col = Math.floor(cols[0] / span); col * span < cols[1]; col++) names.push({ level, row, col });
    }
    const far = ({ row, col }: TileName) => Math.hypot((row + 0.5) * span - view.row, (col + 0.5) * span - view.col);
    return names.sort((a, b) => far(a) - far(b));
  }
}

/** Steps between labels such that they are at least `gap` pixels apart: 1, 2, 5, 10, … */
export function labelStep(pixels: number, gap: number): number {
  const least = gap / pixels;
  if (least <= 1) return 1;
  const unit = 10 ** Math.floor(Math.log10(least));
  return [1, 2, 5, 10].find((times) => times * unit >= least)! * unit;
}
