// placeholder
export class Live {}
