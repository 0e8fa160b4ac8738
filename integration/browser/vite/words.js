export const words = "before";
