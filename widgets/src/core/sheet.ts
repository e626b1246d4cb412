// A canvas that is measured before anything on the page is written: a size read afterwards lays out the page again.

export class Sheet {
  readonly canvas = document.createElement("canvas");
  /** CSS pixels; 0 while hidden, or scrolled out of a windowed notebook. */
  width = 0;
  height = 0;
  font = "";

  measure(): void {
    [this.width, this.height] = [this.canvas.clientWidth, this.canvas.clientHeight];
    this.font = getComputedStyle(this.canvas).fontFamily;
  }

  /** An empty sheet and a pen whose unit is a CSS pixel; null while it has no size. */
  begin(): CanvasRenderingContext2D | null {
    const { canvas, width, height } = this;
    const pen = canvas.getContext("2d");
    if (!pen || width === 0 || height === 0) return null;
    const ratio = globalThis.devicePixelRatio || 1;
    const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
    if (canvas.width !== w || canvas.height !== h) [canvas.width, canvas.height] = [w, h];
    pen.setTransform(w / width, 0, 0, w / width, 0, 0);
    pen.clearRect(0, 0, width, height);
    return pen;
  }
}
