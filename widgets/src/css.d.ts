// A style sheet imported as minified text (build.mjs).
declare module "*.css" {
  const text: string;
  export default text;
}
