// Made by build.mjs: imports every src/**/samples.ts.
declare module "gallery:samples" {}
