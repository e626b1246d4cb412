// The part of anywidget's front-end module contract that our views use.

export type Buffers = readonly (DataView | ArrayBuffer | ArrayBufferView)[];

export interface AnyModel<Traits> {
  get<K extends keyof Traits & string>(name: K): Traits[K];
  on(event: string, handler: (...args: never[]) => void): void;
  off(event: string, handler: (...args: never[]) => void): void;
  send(content: unknown): void;
  readonly widget_manager?: unknown;
}

export type Cleanup = () => void;

export interface AnyWidgetModule<Traits> {
  initialize(context: { model: AnyModel<Traits> }): Cleanup;
  render(context: { model: AnyModel<Traits>; el: HTMLElement }): Cleanup;
}
